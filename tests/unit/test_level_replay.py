"""A level that is run again from a recording says the same bytes; one that does not is caught at the first of them."""

import numpy as np
import pytest

from hjepa.bus import wire
from hjepa.bus.differences import diff
from hjepa.bus.fake import PointHigh, PointLow, PointWorld
from hjepa.bus.inproc import InprocGraph
from hjepa.bus.listen import Place
from hjepa.bus.logfile import About, Log, LogWriter
from hjepa.bus.messages import pack, unpack
from hjepa.bus.record import recording
from hjepa.bus.replay import replay
from hjepa.errors import DataError
from hjepa.types import Launch, MotorPlan, RobotState

START = RobotState(np.array([0.5, -0.5]), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")


def play(path, seeds, clock="lockstep", low=None, high=None, ticks=80, **options):
    """Record episodes of a toy graph."""
    config = {"clock": clock, "low_period_ticks": 2, "high_period_ticks": 4} | options
    parts = PointWorld(ticks), high or PointHigh(), low or PointLow()
    with (
        InprocGraph(*parts, journal=True, **config) as graph,
        recording(Place(graph.config.base, graph.context), path, About(bus=config)),
    ):
        for seed in seeds:
            graph.play(START, LAUNCH, seed)
    return Log(path)


@pytest.fixture(scope="module")
def lockstep(tmp_path_factory):
    return play(tmp_path_factory.mktemp("log") / "run.mcap", (3, 4))


@pytest.fixture(scope="module")
def realtime(tmp_path_factory):
    low = PointLow(plan_s=0.004)
    return play(tmp_path_factory.mktemp("log") / "run.mcap", (3, 4), "realtime", low=low, goal_valid_ms=300.0)


@pytest.mark.parametrize("clock", ["lockstep", "realtime"])
@pytest.mark.parametrize("name", ["low", "high"])
def test_a_replay_says_the_recorded_bytes_twice(clock, name, request):
    log = request.getfixturevalue(clock)
    make = PointLow if name == "low" else PointHigh
    first, second = (replay(log, name, make()) for _ in range(2))
    assert first == second and first.divergence is None
    assert first.unheard == first.unexplained == 0
    recorded = [e.topic for e in log]
    for topic in ("plan", "command") if name == "low" else ("goal",):
        assert first.same[topic] == recorded.count(topic) > 8


def test_another_level_is_caught_at_its_first_message_and_the_difference_named(lockstep):
    class Other(PointLow):
        def plan(self, observation, goal):
            command = super().plan(observation, goal)
            if self.plans == 7:
                q = command.q_rad.copy()
                q[3, 1] += 0.25
                command = command._replace(q_rad=q)
            return command

    result = replay(lockstep, "low", Other())
    assert result.divergence is not None and "command" in result.divergence.where
    assert result.divergence.lines[0] == "q_rad: 1 of 40 elements differ, by 0.25 at most"
    assert result.divergence.lines[1].startswith("  q_rad[3, 1]: ")
    assert 0 < result.same["command"] < 40


def test_a_level_that_says_less_is_caught(lockstep):
    class Silent(PointHigh):
        def decide(self, observation, reachability):
            return super().decide(observation, reachability) if self.decisions < 2 else None

    assert replay(lockstep, "high", Silent()).divergence is not None


def test_a_high_level_whose_question_was_not_answered_is_replayed_too(tmp_path):
    class Deaf(PointLow):
        def reachability(self, observation, candidates, roots):
            raise DataError("nothing is reachable today")

    log = play(tmp_path / "run.mcap", (3,), low=Deaf())
    result = replay(log, "high", PointHigh())
    assert result.divergence is None and result.same["goal"] > 8


def test_commands_with_a_mac_are_compared_without_it(tmp_path):
    log = play(tmp_path / "run.mcap", (3,), ticks=40)
    signed = tmp_path / "signed.mcap"
    count = 0
    with LogWriter(signed, log.about) as writer:
        for entry in log:
            frame = entry.frame
            if entry.topic == "command":
                m = unpack(frame)
                h = m.header
                frame = bytes(
                    pack(
                        h.kind, m.value, session=h.session, sequence=h.sequence, stamp_ns=h.stamp_ns,
                        valid_for_ns=h.valid_for_ns, answers=h.answers, ledger=h.ledger, key=bytes(range(32)),
                    )
                )  # fmt: skip
                count += len(frame) == len(entry.frame) + wire.MAC_BYTES
            writer.write(entry.topic, frame, entry.received_ns)
    result = replay(Log(signed), "low", PointLow())
    assert result.divergence is None and result.same["command"] == count > 8


def test_a_cut_recording_is_replayed_as_far_as_it_goes(lockstep, tmp_path):
    data = lockstep.path.read_bytes()
    compared = []
    for share in (0.5, 0.75, 0.9):
        path = tmp_path / "cut.mcap"
        whole = list(lockstep)
        with LogWriter(path, lockstep.about, readable=False) as writer:
            for entry in whole[: int(share * len(whole))]:
                writer.write(entry.topic, entry.frame, entry.received_ns)
        path.write_bytes(path.read_bytes()[:-8])  # no end, as when killed
        result = replay(Log(path), "low", PointLow())
        assert result.divergence is None
        compared.append(result.same["command"])
    assert 0 < compared[0] < compared[1] < compared[2] and data


def without(log, path, dropped):
    with LogWriter(path, log.about) as writer:
        for k, entry in enumerate(log):
            if not dropped(k, entry):
                writer.write(entry.topic, entry.frame, entry.received_ns)
    return Log(path)


def test_recordings_that_cannot_be_replayed_are_refused_in_words(lockstep, tmp_path):
    with pytest.raises(DataError, match="node 'driver' cannot be replayed; allowed: high, low"):
        replay(lockstep, "driver", PointLow())
    bare = without(lockstep, tmp_path / "a.mcap", lambda k, e: e.topic == "low-journal")
    with pytest.raises(DataError, match="no journal of low; allowed: graphs that ran with"):
        replay(bare, "low", PointLow())
    seen = iter(range(10_000))
    gap = without(lockstep, tmp_path / "b.mcap", lambda k, e: e.topic == "low-journal" and next(seen) == 30)
    with pytest.raises(DataError, match="journal of low has a gap"):
        replay(gap, "low", PointLow())
    firsts = {e.topic: unpack(e.frame).header.session for e in lockstep if e.topic == "goal"}
    late = without(lockstep, tmp_path / "d.mcap", lambda k, e: unpack(e.frame).header.session < firsts["goal"])
    with pytest.raises(DataError, match="begins with episode 2 of low, which may have learned"):
        replay(late, "low", PointLow())
    deaf = without(lockstep, tmp_path / "c.mcap", lambda k, e: e.topic == "observation")
    with pytest.raises(DataError, match="was handled by low and is not in the recording"):
        replay(deaf, "low", PointLow())


def test_differences_are_told_field_by_field():
    plan = MotorPlan(1, np.arange(4.0), 0.5, 7, 1.25, np.array([4.0, -1.0]))
    stamps = {"session": 1, "sequence": 2}
    old = bytes(pack("plan", plan, stamp_ns=5, **stamps))
    new = bytes(pack("plan", plan._replace(energy=float("nan"), m=np.array([0, 1, 2, 3.5])), stamp_ns=6, **stamps))
    assert diff(old, new) == [
        "header.stamp_ns: 5 | 6",
        "energy: 0.5 | nan",
        "m: 1 of 4 elements differ, by 0.5 at most",
        "  m[3]: 3.0 | 3.5",
    ]
    longer = bytes(pack("plan", plan._replace(m=np.arange(2.0)), stamp_ns=5, **stamps))
    assert diff(old, longer) == ["m: float64 (4,) [0 1 2 3] | float64 (2,) [0 1]"]
    nan = bytes(pack("plan", plan._replace(energy=float("nan")), stamp_ns=5, **stamps))
    assert "energy" not in str(
        diff(nan, bytes(pack("plan", plan._replace(energy=float("nan"), goal_id=2), stamp_ns=5, **stamps)))
    )
