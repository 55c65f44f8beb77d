"""Collection: whole shards, a killed run loses one at most, every swing is near what its latent says."""

from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.models.checkpoint import load_codec, save_codec
from hjepa.training import collect as room
from hjepa.training.collect import AFTER, BEFORE, RACKET_MS, CollectConfig, collect, decode_event, load_swings
from hjepa.training.shards import processes
from hjepa.training.spread_ray import ray_workers
from hjepa.training.teacher import Events
from tests import tiny

pytest.importorskip("pybullet")
WORLD = "robots.sim.court:CourtWorld"
SETTINGS = CollectConfig(swings=4, shard=2)
J = tiny.SPEC.joints


@pytest.fixture(scope="module")
def events() -> Events:
    """Contacts near home that a base at rest reaches easily."""
    rng = np.random.default_rng(0)
    n = 20
    q0 = np.repeat(tiny.SPEC.q_home_rad[None], n, 0)
    q_hit = q0 + rng.normal(0.0, 0.1, (n, J))
    return Events(q0, q_hit, rng.normal(0.0, 0.5, (n, J)), np.full(n, 0.8), np.full(n, 0.4), q_hit[:, :3])


@pytest.fixture(scope="module")
def codec_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("codec") / "codec.safetensors"
    save_codec(path, tiny.codec(), {})
    return path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, events: Events, codec_path: Path) -> Path:
    out = tmp_path_factory.mktemp("swings")
    assert collect(tiny.SPEC, WORLD, codec_path, events, SETTINGS, out, spread=processes(1)) == 4
    return out


def test_the_swings_have_their_shapes_and_finite_numbers(filled: Path) -> None:
    swings = load_swings(filled)
    M = tiny.codec().config.latent
    R = 2 * RACKET_MS + 1
    assert swings.latent.shape == (4, M)
    assert swings.q_rad.shape == swings.dq_rad_s.shape == (4, BEFORE + AFTER + 1, J)
    assert swings.centre_m.shape == (4, R, 3)
    assert swings.rotation.shape == (4, R, 3, 3)
    assert all(np.isfinite(column).all() for column in swings)


def test_the_robot_is_at_the_event_where_the_latent_says(filled: Path, codec_path: Path) -> None:
    swings, codec = load_swings(filled), load_codec(codec_path)
    wanted = np.stack([decode_event(codec, m.astype(np.float64), 0.5).q_rad for m in swings.latent])
    inside = ((wanted > tiny.SPEC.q_min_rad) & (wanted < tiny.SPEC.q_max_rad)).all(1)
    assert inside.any()
    miss = np.abs(swings.q_rad[:, BEFORE] - wanted)[inside]
    assert np.median(miss) < 0.02


def test_a_killed_shard_is_done_again_and_the_others_are_not(
    filled: Path, tmp_path: Path, events: Events, codec_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "swings"
    kept = {p.name: p.read_bytes() for p in filled.glob("swings_*.npz")}
    assert len(kept) == 2
    out.mkdir()
    (out / "swings_0000.npz").write_bytes(kept["swings_0000.npz"])
    (out / ".swings_0001.77.npz").write_bytes(kept["swings_0001.npz"][:1000])  # what a kill leaves behind
    made, told = [], []
    original = room._make_shard
    monkeypatch.setattr(room, "_make_shard", lambda shared, k: made.append(k) or original(shared, k))
    report = lambda done, total: told.append((done, total))  # noqa: E731
    assert collect(tiny.SPEC, WORLD, codec_path, events, SETTINGS, out, spread=processes(1), progress=report) == 4
    assert made == [1]
    assert told == [(2, 4), (4, 4)]
    assert sorted(p.name for p in out.glob("[!.]*")) == ["swings_0000.npz", "swings_0001.npz"]
    for ours, theirs in zip(load_swings(out), load_swings(filled)):
        assert np.array_equal(ours, theirs)  # the same shard, bit for bit


def test_a_cluster_makes_the_same_shards_and_only_those_that_are_missing(
    filled: Path, tmp_path: Path, events: Events, codec_path: Path
) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    (tmp_path / "swings_0000.npz").write_bytes((filled / "swings_0000.npz").read_bytes())
    told = []
    report = lambda done, total: told.append((done, total))  # noqa: E731
    with ray_workers("local", 2) as spread:
        assert collect(tiny.SPEC, WORLD, codec_path, events, SETTINGS, tmp_path, spread=spread, progress=report) == 4
    assert told == [(2, 4), (4, 4)]
    for ours, theirs in zip(load_swings(tmp_path), load_swings(filled)):
        assert np.array_equal(ours, theirs)


def test_a_damaged_or_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no swings in"):
        load_swings(tmp_path)
    (tmp_path / "swings_0000.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match="is damaged"):
        load_swings(tmp_path)
