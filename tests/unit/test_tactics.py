"""The rally level: what its states may know, what it learns, what it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hjepa.errors import WeightsError
from hjepa.forecasting import RallyForecaster, TransformerForecaster
from hjepa.models.rally import RallyConfig, RallyModel, load_rally, save_rally
from hjepa.models.strokes import LEFT, Macro, Readings, bin_of, clamp_left
from hjepa.models.transformer import StrokeTransformer, TransformerConfig
from hjepa.tasks.badminton.rallies import Rallies, told
from hjepa.training.tactics import TacticsTraining, next_log_loss, padded, train_tactics, train_transformer

FOLLOWS = (3, 7, 1, 9, 0, 2, 8, 5, 4, 6)
TINY = RallyConfig(latent=16, memory=32, width=32, dropout=0.0)


def made_up(count: int, seed: int = 0) -> Rallies:
    """Rallies whose every type follows from the one before it, and whose landing follows from the type."""
    rng = np.random.default_rng(seed)
    columns: dict[str, list[np.ndarray]] = {"type": [], "land": [], "shot": []}
    lengths = rng.integers(6, 12, count)
    for n in lengths:
        kinds = [int(rng.integers(10))]
        while len(kinds) < n:
            kinds.append(FOLLOWS[kinds[-1]])
        columns["type"].append(np.array(kinds[:n]))
        columns["land"].append(np.stack([-1.0 - 0.5 * np.array(kinds[:n]), np.full(n, 0.4)], axis=-1))
        columns["shot"].append(np.arange(n))
    total, rally = int(lengths.sum()), np.repeat(np.arange(count), lengths)
    side = np.where(np.concatenate(columns["shot"]) % 2 == 0, 1, -1).astype(np.int8)
    zeros = np.zeros(total, dtype=np.int8)
    return Rallies(
        rally.astype(np.int32), np.concatenate(columns["shot"]).astype(np.int16), lengths[rally].astype(np.int16),
        np.concatenate(columns["type"]).astype(np.int8), np.concatenate(columns["land"]),
        np.tile([3.0, 0.0], (total, 1)), np.tile([-3.0, 0.0], (total, 1)), np.full(total, 0.9), zeros, zeros, zeros,
        side, np.where((lengths[rally] - 1 - np.concatenate(columns["shot"])) % 2 == 0, 1, -1).astype(np.int8),
        np.arange(count, dtype=np.int32), np.zeros(count, dtype=np.int8),
    )  # fmt: skip


@pytest.fixture(scope="module")
def learned() -> RallyModel:
    run = TacticsTraining(steps=200, rallies=48, positions=192, ahead=3, told=2, unknown_feet=0.0, mirrored=0.0)
    return train_tactics(made_up(400), run, TINY)


def test_a_state_knows_only_what_was_played_before_it() -> None:
    torch.manual_seed(0)
    model = RallyModel(TINY).eval()
    data = padded(made_up(6))
    before = model.encode(data.strokes)
    later = data.strokes._replace(type=data.strokes.type.clone())
    later.type[:, 4] = (later.type[:, 4] + 1) % 10
    after = model.encode(later)
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4], after[:, 4])


def test_unknown_feet_times_and_types_are_no_numbers_for_the_network() -> None:
    model = RallyModel(TINY).eval()
    strokes = padded(made_up(3)).strokes
    blank = strokes._replace(
        hitter_m=torch.full_like(strokes.hitter_m, torch.nan), since_s=torch.full_like(strokes.since_s, torch.nan),
        type=torch.full_like(strokes.type, -1), land_m=torch.full_like(strokes.land_m, torch.nan),
    )  # fmt: skip
    assert torch.isfinite(model.encode(blank)).all()
    w = Macro(torch.tensor([-1]), torch.full((1, 2), torch.nan), torch.tensor([torch.nan]))
    assert torch.isfinite(model.act(w)).all()


def test_it_learns_how_one_stroke_follows_from_another(learned: RallyModel) -> None:
    fresh = made_up(60, seed=1)
    losses = next_log_loss(learned, fresh)
    assert losses.mean() < 0.1


def test_it_sees_three_strokes_ahead_without_being_told_them(learned: RallyModel) -> None:
    given, truth = told(made_up(40, seed=2))
    beliefs = RallyForecaster(learned).believe(given, 20, 0)
    assert [len(b.types) for b in beliefs] == np.bincount(truth.name).tolist()
    right = []
    for b, name in zip(beliefs, given.name, strict=True):
        kinds = truth.type[truth.name == name]
        np.testing.assert_allclose(b.types.sum(axis=-1), 1.0, rtol=1e-5)
        right.append([b.types[k, kinds[k]] for k in range(min(3, len(kinds)))])
        assert b.drawn_type.shape == (20, len(kinds)) and b.drawn_m.shape == (20, len(kinds), 2)
    assert np.mean([row[0] for row in right]) > 0.8
    assert np.mean([row[2] for row in right if len(row) > 2]) > 0.6  # a tenth by chance


def test_drawn_strokes_go_on_as_they_were_learned(learned: RallyModel) -> None:
    given, truth = told(made_up(40, seed=3))
    beliefs = RallyForecaster(learned).believe(given, 100, 0)
    same = [
        np.mean(b.drawn_type[:, 0] == truth.type[truth.name == n][0]) for b, n in zip(beliefs, given.name, strict=True)
    ]
    assert np.mean(same) > 0.7
    deep = np.concatenate([(b.drawn_m[:, 0, 0] + 1.0 + 0.5 * b.drawn_type[:, 0]).ravel() for b in beliefs])
    assert np.median(np.abs(deep)) < 0.4


def test_the_same_seed_draws_the_same_futures(learned: RallyModel) -> None:
    given, _ = told(made_up(3, seed=4))
    one, two = (RallyForecaster(learned).believe(given, 10, 7) for _ in range(2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.drawn_m, b.drawn_m)


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    rallies, whole = made_up(40), TacticsTraining(steps=6, rallies=8, positions=32)
    straight = train_tactics(rallies, whole, TINY)

    class Killed(Exception):
        pass

    def kill(step: int, figures: dict[str, float]) -> None:
        if step >= 5:
            raise Killed

    with pytest.raises(Killed):
        train_tactics(rallies, whole, TINY, checkpoint=tmp_path / "c.pt", report=kill, every=2)
    again = train_tactics(rallies, whole, TINY, checkpoint=tmp_path / "c.pt", every=2)
    for name, value in straight.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, msg=name)


def test_weights_come_back_and_others_are_refused(tmp_path: Path) -> None:
    model = RallyModel(TINY).eval()
    save_rally(tmp_path / "r.safetensors", model, {"figures": {}})
    data = padded(made_up(2))
    again = load_rally(tmp_path / "r.safetensors").encode(data.strokes)
    torch.testing.assert_close(again, model.encode(data.strokes))
    (tmp_path / "r.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="r.safetensors"):
        load_rally(tmp_path / "r.safetensors")


def test_strokes_left_are_an_index_and_unknown_has_its_own() -> None:
    assert clamp_left(torch.tensor([-1, 0, 5, 99])).tolist() == [LEFT, 0, 5, LEFT - 1]


def test_bins_hold_their_edges() -> None:
    edges = torch.tensor([-2.0, -1.0, 0.5])
    assert bin_of(torch.tensor([-9.0, -1.5, -0.5, 0.4, 9.0]), edges).tolist() == [0, 0, 1, 1, 1]


def test_drawn_parts_lie_in_their_bins() -> None:
    torch.manual_seed(0)
    read = Readings(8, 16, 4, 4, 2, 0.0).eval()
    w = read.draw(torch.randn(500, 8), torch.full((500,), 3), torch.Generator().manual_seed(0))
    assert ((w.land_m[:, 0] >= -8.0) & (w.land_m[:, 0] <= 1.0)).all()
    assert ((w.tempo_s >= 0.2) & (w.tempo_s <= 2.2)).all()
    assert set(w.type.tolist()) <= set(range(10))


def test_the_transformer_looks_back_only_and_draws_by_appending() -> None:
    torch.manual_seed(0)
    model = StrokeTransformer(TransformerConfig(width=16, heads=2, layers=1, readings=16)).eval()
    data = padded(made_up(4))
    later = data.strokes._replace(type=data.strokes.type.clone())
    later.type[:, 5] = (later.type[:, 5] + 1) % 10
    torch.testing.assert_close(model.encode(data.strokes)[:, :5], model.encode(later)[:, :5])
    given, truth = told(made_up(3))
    beliefs = TransformerForecaster(model).believe(given, 5, 0)
    assert [b.drawn_type.shape for b in beliefs] == [(5, n) for n in np.bincount(truth.name)]


def test_the_transformer_learns_too() -> None:
    run = TacticsTraining(steps=150, rallies=48, rate=6e-3, mirrored=0.0, unknown_feet=0.0)
    model = train_transformer(
        made_up(400), run, TransformerConfig(width=32, heads=2, layers=2, readings=32, dropout=0.0)
    )
    fresh = made_up(60, seed=1)
    losses = next_log_loss(model, fresh)
    assert losses.mean() < 0.3
