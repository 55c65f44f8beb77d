"""From nothing to swings to a low level, tiny: every stage is kept, and a second call goes on behind it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hjepa.errors import DataError, WeightsError
from hjepa.models.checkpoint import load_codec
from hjepa.models.low import save_low
from hjepa.tasks.badminton.feeds import load_feed
from hjepa.training import pipeline
from hjepa.training.body import BodyConfig
from hjepa.training.collect import CollectConfig
from hjepa.training.pipeline import SwingRun, collect_swings, launches, train_low_level
from hjepa.training.shards import processes
from tests import tiny

pytest.importorskip("pybullet")
WORLD = "robots.sim.court:CourtWorld"
SMALL = SwingRun(
    real=12, drawn=4, per_launch=2, body=BodyConfig(steps=3, batch=16), collect=CollectConfig(swings=4, shard=2)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    told: list[tuple[int, int, dict]] = []
    kept = collect_swings(
        tiny.SPEC, WORLD, out, SMALL, spread=processes(1), progress=lambda a, b, c: told.append((a, b, dict(c)))
    )
    assert kept == 4
    assert told[-1][:2] == (4, 4)
    assert any("codec step" in figures for _, _, figures in told)
    return out


def test_launches_repeat_for_a_seed_and_come_from_training_matches() -> None:
    first, again, other = launches(20, 5, 1), launches(20, 5, 1), launches(20, 5, 2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again))
    assert not np.array_equal(first[0], other[0])
    assert [len(part) for part in first] == [25] * 3
    held = {tuple(x) for split in ("val", "test") for x in load_feed(split).x0_m}
    assert not held & {tuple(x) for x in first[0]}


def test_a_second_call_finds_everything_done(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in data.iterdir()}
    assert {"events.npz", "codec.safetensors", "swings_0000.npz", "swings_0001.npz"} <= set(before)
    for name in ("teach", "fit_codec"):
        monkeypatch.setattr(pipeline, name, lambda *a, **k: pytest.fail("done already"))
    assert collect_swings(tiny.SPEC, WORLD, data, SMALL, spread=processes(1)) == 4
    assert {p.name: p.stat().st_mtime_ns for p in data.iterdir()} == before


def test_damaged_events_are_named(tmp_path: Path) -> None:
    (tmp_path / "events.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="teacher's events .* is damaged"):
        collect_swings(tiny.SPEC, WORLD, tmp_path, SMALL, spread=processes(1))


@pytest.mark.parametrize("alarms", [[], ["target_landing_m"]])
def test_training_takes_the_data_as_collected_and_its_alarm_is_loud(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alarms: list[str]
) -> None:
    asked = {}

    def train(spec, codec, swings, flights, high, run, out, *, progress, writer, ranks, start):
        asked.update(swings=len(swings.latent), flights=len(flights[0]), seed=run.level.seed, codec=codec)
        save_low(out / "low.safetensors", tiny.low()._replace(header={"alarms": alarms}))
        return out / "low.safetensors"

    monkeypatch.setattr(pipeline, "train", train)
    if alarms:
        with pytest.raises(WeightsError, match="low.safetensors' lost the stroke: target_landing_m too large"):
            train_low_level(tiny.SPEC, data, tiny.high(), tmp_path, 3, flights=(30, 10))
    else:
        path = train_low_level(tiny.SPEC, data, tiny.high(), tmp_path, 3, flights=(30, 10))
        assert path == tmp_path / "low.safetensors"
    kept = load_codec(data / "codec.safetensors")
    assert (asked["swings"], asked["flights"], asked["seed"]) == (4, 40, 3)
    assert torch.equal(asked["codec"].low, kept.low)


def test_without_swings_training_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run `hjepa collect` first"):
        train_low_level(tiny.SPEC, tmp_path, tiny.high(), tmp_path, 0)


def test_weights_are_settled_again_on_swings_of_their_own_codec_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def train(*parts, start, **_):
        begun.append(start)
        save_low(tmp_path / "low.safetensors", tiny.low()._replace(header={"alarms": []}))
        return tmp_path / "low.safetensors"

    monkeypatch.setattr(pipeline, "train", train)
    weights = tmp_path / "before.safetensors"
    save_low(weights, tiny.low())
    with pytest.raises(DataError, match="collected with another motor codec than that of .*--codec"):
        train_low_level(tiny.SPEC, data, tiny.high(), tmp_path, 3, start=weights)
    own = tmp_path / "own"
    assert collect_swings(tiny.SPEC, WORLD, own, SMALL, spread=processes(1), codec_of=weights) == 4
    train_low_level(tiny.SPEC, own, tiny.high(), tmp_path, 3, start=weights)
    level, proposal = begun[0]
    assert torch.equal(level.codec.low, tiny.low().level.codec.low) and proposal.heads == 4
