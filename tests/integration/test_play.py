"""Playing a configuration's strokes: the same in one process and in three, and for any start."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hjepa.config import load
from hjepa.errors import ConfigError
from hjepa.evaluation.results import Played, StrokeResult

pytest.importorskip("pybullet")
from hjepa import api  # noqa: E402


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def system(weights: Path, *changes: str) -> api.System:
    return api.load(load("badminton", [f"agent.weights={weights}", "task.strokes=2", "world.recover_s=0.95", *changes]))


def untimed(result: StrokeResult) -> StrokeResult:
    """Without wall times, which differ from run to run; their number does not."""
    return replace(
        result,
        plan_ms_low=tuple(0.0 for _ in result.plan_ms_low),
        plan_ms_high=tuple(0.0 for _ in result.plan_ms_high),
    )


def same(ours: Played, theirs: Played) -> None:
    assert repr(untimed(ours.result)) == repr(untimed(theirs.result))
    assert ours.recording is not None and theirs.recording is not None
    for a, b in zip(ours.recording, theirs.recording):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(("start", "processes"), [("carried", True), ("receiver", False)])
def test_over_the_bus_is_played_what_direct_calls_play(weights: Path, start: str, processes: bool) -> None:
    loaded = system(weights, f"task.start={start}")
    direct = list(api.play(loaded, record=True))
    bus = list(api.play_bus(loaded, processes=processes))
    assert len(direct) == len(bus) == 2
    for ours, theirs in zip(direct, bus):
        same(ours, theirs)
        assert ours.result.plan_ms_low
        assert ours.result.seed == 7  # of the weights
        assert ours.result.start == start


def test_the_bus_is_for_two_levels(weights: Path) -> None:
    with pytest.raises(ConfigError, match="'classical' has no two levels; over the bus play: hjepa, reactive"):
        next(api.play_bus(system(weights, "agent.name=classical")))


def test_the_oracle_returns_what_is_feasible(weights: Path) -> None:
    played = [stroke.result for stroke in api.play(system(weights, "agent.name=oracle", "task.strokes=3"))]
    feasible = [r for r in played if r.feasible]
    assert feasible
    assert sum(r.returned for r in feasible) >= len(feasible) - 1


def test_start_states_are_kept_between_runs_and_do_not_depend_on_the_world(weights: Path, tmp_path: Path) -> None:
    first = system(weights).starts()
    told: list[tuple[int, int]] = []
    again = system(weights, "world.restitution=0.4").starts(judging=lambda done, total: told.append((done, total)))
    assert told == [(2, 2)]  # nothing was left to do
    for ours, theirs in zip(first, again):
        assert np.array_equal(ours, theirs)
    assert list((tmp_path / "hjepa").rglob("*.npz"))
