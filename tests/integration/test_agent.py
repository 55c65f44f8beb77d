"""The whole agent on the simulated court: deterministic, the same over the bus, and free of physics."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from hjepa import build
from hjepa.config import load
from hjepa.protocols import Agent
from hjepa.tasks.badminton import flight, impact
from hjepa.types import Decision, Goal, JointTrajectory, Launch, Observation, Outcome, RobotState
from tests import tiny

pytest.importorskip("pybullet")
from robots.sim.court import CourtWorld, WorldConfig  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
START = RobotState(tiny.SPEC.q_home_rad, np.zeros(8))
LAUNCH = Launch(np.array([5.0, 0.6, 2.0]), np.array([-14.0, -0.8, 7.0]))
PERIOD = 4
HIERARCHICAL = ("hjepa", "reactive", "coded-goal")


class Played(NamedTuple):
    seen: list[Observation]  # at the re-planning instants
    commands: list[JointTrajectory | None]
    goals: list[Goal]
    decisions: list[Decision]
    outcome: Outcome


class Sealed:
    """A world that lets nobody look at the truth while the agent thinks."""

    def __init__(self, world: CourtWorld) -> None:
        self._world, self.closed = world, False

    def __getattr__(self, name: str):
        if self.closed:
            raise AssertionError(f"the agent looked at the world: {name}")
        return getattr(self._world, name)


@pytest.fixture(scope="module")
def world() -> Iterator[Sealed]:
    with CourtWorld(tiny.SPEC, WorldConfig(recover_s=0.2)) as made:
        yield Sealed(made)


@pytest.fixture(scope="module")
def config(weights: Path):
    return load("badminton", [f"agent.weights={weights}"])


def agent_of(config, name: str = "hjepa") -> Agent:
    return build.build_agent(config, name, truth=lambda: pytest.fail("the truth was asked for"))


def play(world: Sealed, agent: Agent, seed: int = 1) -> Played:
    """One stroke in lockstep."""
    observed, commands, goals, decisions = [], [], [], []
    seen = world.reset(START, LAUNCH, seed)
    agent.reset(seed)
    for tick in range(400):
        if world.done:
            break
        if tick % PERIOD == 0:
            world.closed = True
            command = agent.act(seen)
            world.closed = False
            observed.append(seen)
            commands.append(command)
            goal = getattr(agent, "thought", (None,))[0]
            if goal is not None and (not goals or goals[-1] is not goal):
                goals.append(goal)
            if agent.decision is not None and (not decisions or decisions[-1] is not agent.decision):
                decisions.append(agent.decision)
            if command is not None:
                world.send(command)
        seen = world.tick()
    return Played(observed, commands, goals, decisions, world.outcome())


def bits(value):
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes()
    if isinstance(value, tuple | list):
        return tuple(bits(item) for item in value)
    return repr(value)


@pytest.mark.parametrize("name", [*HIERARCHICAL, "flat", "random"])
def test_two_runs_of_a_seed_are_identical(world: Sealed, config, name: str) -> None:
    first, again = play(world, agent_of(config, name)), play(world, agent_of(config, name))
    assert any(command is not None for command in first.commands)
    assert bits(again.commands) == bits(first.commands)
    assert bits(again.outcome) == bits(first.outcome)


def test_an_agent_keeps_nothing_of_the_strokes_it_played_before_but_the_context(world: Sealed, config) -> None:
    agent = agent_of(config)
    first = play(world, agent, seed=1)
    play(world, agent, seed=2)
    agent.low.context.forget()
    assert bits(play(world, agent, seed=1).commands) == bits(first.commands)


def test_another_seed_is_another_stroke(world: Sealed, config) -> None:
    assert bits(play(world, agent_of(config), 1).commands) != bits(play(world, agent_of(config), 2).commands)


@pytest.mark.parametrize("name", [*HIERARCHICAL, "flat"])
def test_decisions_hold_what_the_record_needs(world: Sealed, config, name: str) -> None:
    decisions = play(world, agent_of(config, name)).decisions
    first = decisions[0]
    assert len(decisions) > 3
    assert np.isfinite(first.high_ms)
    assert all(np.isnan(d.high_ms) for d in decisions[1:])
    for d in decisions:
        assert d.type in build.TYPES
        assert d.target_xy_m is not None and d.target_xy_m[0] > 0
        assert d.predicted_xy_m is not None
        assert d.plan_ms > 0
        assert d.candidates >= 4
        assert d.mflop == pytest.approx(d.candidates * build.candidate_flop(tiny.low().level) / 1e6)
    if name != "flat":  # which may change its mind
        assert {d.type for d in decisions} == {first.type}


def test_commands_join_where_the_last_one_left_the_joints(world: Sealed, config) -> None:
    from hjepa import stroke

    played = play(world, agent_of(config))
    sent = [c for c in played.commands if c is not None]
    assert len(sent) > 3
    for before, after in zip(sent, sent[1:]):
        there = stroke.state_at(before, after.start_ns)
        assert after.q_rad[0] == pytest.approx(there.q_rad, abs=1e-5)
        assert after.dq_rad_s[0] == pytest.approx(there.dq_rad_s, abs=1e-4)


def test_planning_time_is_charged_to_the_clock(world: Sealed, config) -> None:
    played = play(world, agent_of(config))
    for seen, command in zip(played.seen, played.commands):
        assert command is None or command.start_ns == seen.stamp_ns + 1_000_000 * config.low.latency_ms
    goal = played.goals[0]
    assert goal.start_ns == goal.stamp_ns + 1_000_000 * config.high.latency_ms
    first = next(seen for seen, command in zip(played.seen, played.commands) if command is not None)
    assert first.stamp_ns >= goal.start_ns


@pytest.mark.parametrize("name", HIERARCHICAL)
def test_over_the_bus_everything_is_what_direct_calls_give(world: Sealed, config, name: str) -> None:
    from hjepa.bus.inproc import run_inproc

    direct = play(world, agent_of(config, name))
    made = CourtWorld(tiny.SPEC, WorldConfig(recover_s=0.2))
    high, low = build.build_high(config, name), build.build_low(config, tiny.SPEC, name)
    options = {"low_period_ticks": PERIOD, "high_period_ticks": PERIOD}
    (episode,) = run_inproc(made, high, low, [(START, LAUNCH, 1)], **options)
    assert bits(episode.outcome) == bits(direct.outcome)
    assert bits(episode.commands) == bits([c for c in direct.commands if c is not None])
    assert bits(episode.goals) == bits(direct.goals)
    from hjepa.api import decisions_of

    ours = [d for _, d in decisions_of(episode)]
    assert len(ours) == len(direct.decisions)
    for a, b in zip(ours, direct.decisions):
        assert (a.type, a.energy, a.candidates, a.mflop) == (b.type, b.energy, b.candidates, b.mflop)
        assert np.array_equal(a.predicted_xy_m, b.predicted_xy_m)
    assert [np.isfinite(d.high_ms) for d in ours] == [np.isfinite(d.high_ms) for d in direct.decisions]


EXECUTED = ("agent", "diary", "handover", "motion", "stroke", "planning", "models")
PHYSICS = ("hjepa.tasks", "hjepa.training", "hjepa.evaluation", "robots", "pybullet")


def imported_by(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_executed_path_reaches_no_physics_by_any_import() -> None:
    """Walks every import, lazy ones too, from the agent on; also what those files import."""
    todo = [p for part in EXECUTED for p in sorted((ROOT / "hjepa").glob(f"{part}.py"))]
    todo += [p for part in EXECUTED for p in sorted((ROOT / "hjepa" / part).glob("**/*.py"))]
    assert {p.stem for p in todo} >= {"agent", "stroke_planner", "hierarchy", "flat", "low", "high", "motor", "motion"}
    done: set[Path] = set()
    while todo:
        path = todo.pop()
        if path in done:
            continue
        done.add(path)
        for name in imported_by(path):
            assert not name.startswith(PHYSICS), f"{path.relative_to(ROOT)} imports {name}"
            inner = ROOT / (name.replace(".", "/") + ".py")
            if inner.is_file():
                todo.append(inner)
    words = {
        word
        for path in done
        for word in ("inverse_kin", "joint_frames", "racket_jacobian", "solve_launch")
        if word in path.read_text()
    }
    assert not words


def test_the_executed_path_loads_no_physics_when_imported() -> None:
    code = (
        "import sys, hjepa.agent, hjepa.planning.stroke_planner, hjepa.planning.hierarchy, hjepa.planning.flat, "
        "hjepa.planning.cem, hjepa.models.low, hjepa.models.high; print(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = out.split()
    assert "torch" in loaded
    assert not [name for name in loaded if name.startswith(PHYSICS)]


@pytest.mark.parametrize("name", [*HIERARCHICAL, "flat"])
def test_commands_do_not_depend_on_the_physics_that_is_really_there(
    world: Sealed, config, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """L, g and e are replaced in the task, and every law made to raise: the same observations, the same commands."""
    played = play(world, agent_of(config, name))
    monkeypatch.setattr(flight, "L_NOMINAL_M", 2.0)
    monkeypatch.setattr(flight, "G", np.array([0.0, 0.0, -3.7]))
    monkeypatch.setattr(impact, "RESTITUTION", 0.95)

    def forbidden(*args, **kwargs):
        raise AssertionError("the executed path asked the task's physics")

    for module, names in ((flight, ("fly", "land", "rk4_step", "acceleration", "solve_launch", "fly_to")),
                          (impact, ("rebound_batch", "contacts"))):  # fmt: skip
        for function in names:
            monkeypatch.setattr(module, function, forbidden)
    agent = agent_of(config, name)
    agent.reset(1)
    replayed = [agent.act(seen) for seen in played.seen]
    assert any(command is not None for command in replayed)
    assert bits(replayed) == bits(played.commands)
