"""Zones to keep out of reach the low level over the bus as in one process, are replayed, and outlive their scanner."""

import numpy as np
import pytest

from hjepa.bus.fake import PointHigh, PointLow, PointWorld
from hjepa.bus.inproc import InprocGraph
from hjepa.bus.listen import Place
from hjepa.bus.logfile import About, Log
from hjepa.bus.readable import as_line
from hjepa.bus.record import recording
from hjepa.bus.replay import replay
from hjepa.bus.wire import decode
from hjepa.handover import Handover
from hjepa.types import Launch, RobotState

START = RobotState(np.array([0.5, -0.5]), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")


class Hall(PointWorld):
    """Somebody walks along x; the scanner may break. Nobody is there before tick 3."""

    def __init__(self, breaks_at=1000, **options):
        super().__init__(**options)
        self.breaks_at = breaks_at

    def zones(self):
        if self.tick_count < 3:
            return np.zeros((0, 6))
        x = 0.01 * self.tick_count if self.tick_count < self.breaks_at else np.nan
        return np.array([[x, 1.0, 1.2, 0.0, 0.5, 2.0]])


class Shy(PointLow):
    """Whatever it says depends on the zones in force."""

    def reset(self, seed=0):
        super().reset(seed)
        self.where = 0.0

    def avoid(self, zones):
        self.where = float(zones[:, 0].sum())

    def reachability(self, observation, candidates, roots):
        return super().reachability(observation, candidates, roots) + self.where * candidates[:, 0]

    def plan(self, observation, goal):
        command = super().plan(observation, goal)
        return command._replace(q_rad=command.q_rad + self.where)


def directly(seed, period=2):
    """The same parts called in one process."""
    world, high, low, handover = Hall(), PointHigh(), Shy(), Handover()
    seen, commands, goals = world.reset(START, LAUNCH, seed), [], []
    high.reset(seed)
    low.reset(seed)
    while not world.done:
        if world.tick_count % period == 0:
            low.avoid(world.zones())
            decided = high.decide(seen, lambda *asked, now=seen: low.reachability(now, *asked))
            if decided is not None:
                handover.offer(decided)
                goals.append(decided)
            goal = handover.at(seen.stamp_ns)
            if goal is not None:
                commands.append(low.plan(seen, goal))
                world.send(commands[-1])
        seen = world.tick()
    return goals, commands


def play(world, low, path=None, clock="lockstep"):
    config = {"clock": clock, "low_period_ticks": 2, "high_period_ticks": 2}
    with InprocGraph(world, PointHigh(), low, journal=True, **config) as graph:
        if path is None:
            return graph.play(START, LAUNCH, 3)
        with recording(Place(graph.config.base, graph.context), path, About(bus=config)):
            return graph.play(START, LAUNCH, 3)


def test_over_the_bus_a_level_that_avoids_says_what_it_says_in_one_process():
    goals, commands = directly(3)
    episode = play(Hall(), Shy())
    assert len(commands) > 20
    for told, direct in zip((episode.goals, episode.commands), (goals, commands), strict=True):
        assert [[np.asarray(part).tobytes() for part in value] for value in told] == [
            [np.asarray(part).tobytes() for part in value] for value in direct
        ]
    zones = episode.messages["zones"]
    assert [m.value.stamp_ns for m in zones] == [seen.stamp_ns for seen in episode.observations]
    assert [m.header.answers for m in episode.messages["observation"]] == [m.header.sequence for m in zones]
    assert zones[0].value.zones.shape == (0, 6) and zones[-1].value.zones[0, 0] == pytest.approx(0.8)
    assert episode.status["low"].counts.get("zones.stale", 0) == 0


def test_a_world_without_a_scanner_sends_no_zones_and_is_not_waited_for():
    episode = play(PointWorld(), Shy())
    assert not episode.messages["zones"] and len(episode.commands) > 20
    assert {m.header.answers for m in episode.messages["observation"]} == {-1}
    assert "zones.silent" not in episode.status["low"].counts


@pytest.mark.parametrize("clock", ["lockstep", "realtime"])
def test_zones_are_recorded_and_a_replay_repeats_what_was_decided_with_them(clock, tmp_path):
    path = tmp_path / "run.mcap"
    play(Hall(), Shy(), path, clock)
    log = Log(path)
    result = replay(log, "low", Shy())
    assert result.divergence is None and result.unheard == result.unexplained == 0
    assert result.same["command"] > 8
    zones = [decode(entry.frame) for entry in log if entry.topic == "zones"]
    assert len(zones) > 70
    assert as_line("zones", zones[-1]).endswith("zones=[0.8 1 1.2 0 0.5 2]")

    class Bold(Shy):
        def avoid(self, zones):
            pass

    blind = replay(log, "low", Bold())
    assert blind.divergence is not None, "the zones had changed nothing"


@pytest.mark.parametrize("level", [Shy, PointLow])
def test_zones_of_a_scanner_that_fell_silent_stay_in_force_and_are_counted(level):
    low = level()
    episode = play(Hall(breaks_at=20), low)
    driver, counts = episode.status["driver"].counts, episode.status["low"].counts
    assert driver["zones.unsendable.non_finite"] == 61
    stale = [seen.stamp_ns for seen in episode.observations if seen.stamp_ns > (19 + 30) * 10_000_000]
    assert counts["zones.stale"] == len(stale[::2][:-1]), "planned every second tick, not at the end"
    assert len(episode.commands) > 20
    if level is Shy:
        assert low.where == pytest.approx(0.19)
