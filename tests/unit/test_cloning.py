"""pytest tests/unit/test_cloning.py: behaviour cloning of the classical agent."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hjepa.errors import DataError, WeightsError
from hjepa.evaluation.baselines import ClassicalAgent, ClassicalConfig
from hjepa.models import checkpoint, cloned
from hjepa.tasks.badminton.feeds import load_feed
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.training import cloning as c
from hjepa.training.pipeline import train_clone
from hjepa.types import JointTrajectory, Launch, Observation, RobotSpec, RobotState
from robots.spec import load_spec
from tests.unit.fake_court import FakeCourt

torch.set_num_threads(1)  # more only stand in each other's way on a busy machine
SPEC = load_spec("courtbot")
FEED = load_feed("train")
LOBS = np.flatnonzero((FEED.type == TYPES.index("lob")) & (FEED.time_s > 1.3))[:2]
QUICK = c.CloneTraining(steps=60, batch=64, held_out=0.1)
COURT = f"{__name__}:court"


def court(spec: RobotSpec) -> FakeCourt:
    """A court that is not connected yet."""
    made = FakeCourt(spec)
    made.close()
    return made


def strokes() -> list[tuple[RobotState, Launch, int]]:
    q = SPEC.q_home_rad
    return [(RobotState(q, np.zeros(8)), FEED.launch(i), int(i)) for i in LOBS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clone")
    c.collect(SPEC, COURT, ClassicalAgent, strokes(), out, replan_period_ms=20, shard=1, workers=1)
    return out


@pytest.fixture(scope="module")
def examples(folder: Path) -> c.Examples:
    return c.load_examples(folder)


def test_an_example_is_what_was_seen_and_what_was_planned(examples: c.Examples) -> None:
    n = len(examples.plan)
    assert n > 80  # two lobs, every 20 ms
    assert examples.window_m.shape == (n, 64, 3)
    assert examples.plan.shape == (n, 18)
    to_go, before = examples.plan[:, 16], examples.plan[:, 17]
    assert ((to_go > 0) & (to_go < 2.5)).all()
    steps = np.diff(to_go)
    assert np.median(steps) == pytest.approx(-0.02, abs=1e-6)  # it counts down while the plan stands
    assert (before > 0).all()
    assert (examples.plan[:, :8] >= SPEC.q_min_rad).all()
    assert (examples.plan[:, :8] <= SPEC.q_max_rad).all()


def test_a_killed_collection_goes_on_and_ends_the_same(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(kept) == ["clone_0000.npz", "clone_0001.npz"]
    (tmp_path / "clone_0000.npz").write_bytes(kept["clone_0000.npz"])
    (tmp_path / ".clone_0001.77.npz").write_bytes(kept["clone_0001.npz"][:1000])  # what a kill leaves behind
    made, told = [], []
    original = c._collect_shard
    monkeypatch.setattr(c, "_collect_shard", lambda job: made.append(Path(job.path).name) or original(job))
    report = lambda done, total: told.append((done, total))  # noqa: E731
    settings = {"replan_period_ms": 20, "shard": 1, "workers": 1}
    examples = c.collect(SPEC, COURT, ClassicalAgent, strokes(), tmp_path, progress=report, **settings)
    assert made == ["clone_0001.npz"]
    assert told == [(1, 2), (2, 2)]
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == sorted(kept)
    for ours, theirs in zip(examples, c.load_examples(folder)):
        assert np.array_equal(ours, theirs)


def test_two_processes_collect_what_one_collects(folder: Path, tmp_path: Path) -> None:
    teacher = partial(ClassicalAgent, config=ClassicalConfig())
    examples = c.collect(SPEC, COURT, teacher, strokes(), tmp_path, replan_period_ms=20, shard=1, workers=2)
    for ours, theirs in zip(examples, c.load_examples(folder)):
        assert np.array_equal(ours, theirs)


class Lazy(ClassicalAgent):
    """Plans, but in its stroke of seed 0 never moves."""

    def reset(self, seed: int = 0) -> None:
        super().reset(seed)
        self.moves = seed != 0

    def act(self, observation: Observation) -> JointTrajectory | None:
        command = super().act(observation)
        return command if self.moves else None


def test_strokes_that_were_not_returned_leave_no_example(folder: Path, tmp_path: Path) -> None:
    mixed = [(*strokes()[0][:2], 0), *strokes()]
    settings = {"replan_period_ms": 20, "workers": 1}
    examples = c.collect(SPEC, COURT, Lazy, mixed, tmp_path / "mixed", **settings)
    for ours, theirs in zip(examples, c.load_examples(folder)):
        assert np.array_equal(ours, theirs)
    with pytest.raises(DataError, match="returned none of its strokes"):
        c.collect(SPEC, COURT, Lazy, mixed[:1], tmp_path / "none", **settings)
    assert not list((tmp_path / "none").iterdir())


def test_shards_of_other_strokes_are_refused(folder: Path) -> None:
    others = [(start, launch, seed + 1) for start, launch, seed in strokes()]
    with pytest.raises(DataError, match=r"clone_0000.npz' holds other strokes"):
        c.collect(SPEC, COURT, ClassicalAgent, others, folder, shard=1, workers=1)


def test_missing_or_damaged_examples_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no examples"):
        c.load_examples(tmp_path)
    (tmp_path / "clone_0000.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="clone_0000"):
        c.load_examples(tmp_path)
    (tmp_path / "clone_0000.npz").write_bytes((folder / "clone_0000.npz").read_bytes()[:1000])
    with pytest.raises(DataError, match="clone_0000"):
        c.load_examples(tmp_path)


def test_the_fit_learns_the_examples_and_is_the_same_for_a_seed(examples: c.Examples) -> None:
    said: list[dict[str, float]] = []
    first, second = (c.fit(examples, QUICK, progress=lambda _, losses: said.append(losses)) for _ in range(2))
    x = torch.zeros(1, 64, 3), torch.zeros(1, 64), torch.zeros(1, 8), torch.zeros(1, 8)
    torch.testing.assert_close(first(cloned.LowInput(*x)), second(cloned.LowInput(*x)), rtol=0, atol=0)
    constant = float(torch.nn.functional.huber_loss(*_spread(examples), delta=QUICK.knee))
    assert said[0]["loss"] < 0.3 * constant  # far better than naming the mean plan
    assert np.isfinite(said[0]["held_out"])


def _spread(examples: c.Examples) -> tuple[torch.Tensor, torch.Tensor]:
    plan = torch.tensor(examples.plan)
    white = (plan - plan.mean(0)) / (plan.std(0) + 1e-3)
    return white, torch.zeros_like(white)


def test_training_plays_fits_and_writes_weights_that_a_second_run_makes_again(tmp_path: Path) -> None:
    told: list[tuple[int, int, list[str]]] = []

    def make() -> bytes:
        data, path = tmp_path / "clone", tmp_path / "bc.safetensors"
        report = lambda done, whole, figures: told.append((done, whole, sorted(figures)))  # noqa: E731
        settings = {"workers": 1, "progress": report, "run": c.CloneTraining(steps=25, batch=16)}
        assert train_clone(SPEC, COURT, ClassicalAgent, strokes(), data, path, 3, **settings) == path
        return path.read_bytes()

    first = make()
    assert told == [(0, 2, []), (2, 2, []), (25, 25, ["held_out", "loss"])]
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["bc.safetensors", "clone"]  # no half-written file
    assert make() == first
    assert told[3:] == [(2, 2, []), (25, 25, ["held_out", "loss"])]  # nothing was played again


def test_weights_survive_the_disk_and_others_are_refused(examples: c.Examples, tmp_path: Path) -> None:
    clone = c.fit(examples, c.CloneTraining(steps=3, batch=16))
    cloned.save_clone(tmp_path / "bc.safetensors", clone, SPEC)
    again = cloned.load_clone(tmp_path / "bc.safetensors", SPEC)
    x = cloned.LowInput(torch.randn(2, 64, 3), torch.ones(2, 64), torch.randn(2, 8), torch.randn(2, 8))
    torch.testing.assert_close(clone(x), again(x))
    checkpoint.save(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"motor": {}})
    with pytest.raises(WeightsError, match="holds motor"):
        cloned.load_clone(tmp_path / "other.safetensors", SPEC)
    with pytest.raises(WeightsError, match="courtbot, not ur5e"):
        cloned.load_clone(tmp_path / "bc.safetensors", replace(SPEC, name="ur5e"))
    weaker = replace(SPEC, dq_max_rad_s=0.9 * SPEC.dq_max_rad_s)
    with pytest.raises(WeightsError, match="with other limits or links"):
        cloned.load_clone(tmp_path / "bc.safetensors", weaker)


def test_the_agent_plays_within_limits_and_from_observations_alone(examples: c.Examples) -> None:
    agent = cloned.ClonedAgent(SPEC, c.fit(examples, QUICK))
    court = FakeCourt(SPEC)
    for start, launch, seed in strokes():
        seen = court.reset(start, launch, seed)
        agent.reset(seed)
        starts = []
        for tick in range(400):
            if court.done:
                break
            command = agent.act(seen) if tick % 2 == 0 else None
            if command is not None:
                followed = court.send(command)
                starts.append(command.start_ns)
                assert (np.abs(followed.dq_rad_s) <= SPEC.dq_max_rad_s + 1e-9).all()
            seen = court.tick()
        assert starts[0] == 120_000_000  # asked at 0.10 s, 20 ms latency
        assert len(starts) > 10
        assert starts[-1] <= agent._contact_ns
        assert agent.decision is not None
        assert agent.decision.target_xy_m is None


def test_absurd_outputs_are_kept_within_the_robots_range() -> None:
    clone = cloned.PlanClone()
    clone.mean.fill_(1e3)
    agent = cloned.ClonedAgent(SPEC, clone.eval())
    seen = Observation(
        200_000_000,
        SPEC.q_home_rad,
        np.zeros(8),
        np.zeros((64, 3)),
        np.zeros(64, dtype=bool),
        np.zeros(64, dtype=np.int64),
    )
    event = agent._event(seen)
    np.testing.assert_array_equal(event.q_rad, SPEC.q_max_rad)
    np.testing.assert_array_equal(event.dq_rad_s, SPEC.dq_max_rad_s)
