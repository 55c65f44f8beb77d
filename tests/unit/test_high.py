"""The high level: frames, masks, checkpoints, what its batches hold, and that training resumes where it was killed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hjepa.errors import WeightsError
from hjepa.models.high import NAME_TOLERANCE, HighConfig, HighModel, canonical, clean_mask, load_high, save_high
from hjepa.tasks.badminton import flight
from hjepa.training import high as high_training
from hjepa.training.chains import Noise, chain_rows, chains, observe
from hjepa.training.encoder import EncoderTraining, train_encoder
from hjepa.training.high import HighTraining
from hjepa.training.precision import spread
from hjepa.training.rallies import Pool, with_simulated
from hjepa.training.rally import RallyTraining, code_of, make_codebook, train_rally

SMALL = HighConfig(width=32, depth=1, codes=12)


@pytest.fixture(scope="module")
def pool() -> Pool:
    """A pool of simulated strokes; a third of the answers are dressed up as real rallies."""
    made = with_simulated(None, 400, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    real = (made.previous >= 0) & (made.type >= 2) & (rng.random(len(made.type)) < 0.5)
    return made._replace(
        real=real, won=np.where(real, rng.choice([-1, 1], len(real)), 0), last=real & (rng.random(len(real)) < 0.2)
    )


@pytest.fixture(scope="module")
def model() -> HighModel:
    torch.manual_seed(0)
    return HighModel(SMALL).eval()


def test_canonical_turns_points_about_the_vertical_and_twice_is_nothing():
    x = torch.randn(4, 7, 3)
    assert torch.equal(canonical(canonical(x)), x)
    assert canonical(torch.tensor([-3.0, 1.0, 2.0])).tolist() == [3.0, -1.0, 2.0]
    assert canonical(torch.tensor([[-3.0, 1.0]])).tolist() == [[3.0, -1.0]]


def test_samples_from_the_floor_or_the_net_on_are_not_read():
    window = torch.zeros(3, 40, 3)
    window[..., 0], window[..., 2] = torch.linspace(3.0, -3.0, 40), 2.0
    window[1, 10:, 2] = 0.0  # on the floor
    window[2, 15:, 0], window[2, 15:, 2] = 0.01, 1.2  # hangs in the net
    kept = clean_mask(window, torch.ones(3, 40))
    assert kept.sum(1).tolist() == [40.0, 10.0, 15.0]


def test_the_encoder_does_not_see_masked_samples(model):
    window, mask = 2.0 + torch.rand(5, 40, 3), torch.ones(5, 40)
    mask[:, 12:] = 0
    changed = window.clone()
    changed[:, 12:] = 99.0
    assert torch.equal(model.encode(window, mask), model.encode(changed, mask))


def test_an_unknown_part_of_the_context_does_not_matter_and_a_known_one_does(model):
    s_in, w = torch.randn(2, 16), torch.tensor([[2.0, -1.0, 0.0, 1.1]]).expand(2, 4)
    feet = torch.tensor([[3.0, 1.0], [4.0, -1.0]])
    blank = model.context(2)
    lying = blank._replace(hitter_m=feet, before=torch.randn(2, 16))
    assert torch.equal(model.predict(blank, s_in, w), model.predict(lying, s_in, w))
    assert not torch.equal(model.predict(blank, s_in, w), model.predict(model.context(2, feet), s_in, w))


def test_the_goal_energy_is_the_weighted_square(model):
    model.precision.copy_(torch.diag(torch.arange(1.0, 17.0)))
    goal = torch.randn(3, 16)
    off = goal.clone()
    off[:, 4] += 2.0
    assert model.goal_energy(goal, goal).tolist() == [0.0, 0.0, 0.0]
    assert model.goal_energy(off, goal).tolist() == pytest.approx([20.0] * 3, rel=1e-4)


def test_the_metric_counts_landing_time_and_the_name_of_the_goal(model):
    s, s_in, kind = torch.randn(3, 16), torch.randn(3, 16), torch.tensor([4, 0, -1])
    root = model.metric(s, s_in, kind)
    step = 1e-3 * torch.randn(3, 16)
    told = (root @ step[..., None])[..., 0]
    with torch.no_grad():
        floor = (model.readings(s + step) - model.readings(s)) * model.read_scale
    assert told[:, :3] == pytest.approx(floor[:, :3] / torch.tensor([0.1, 0.1, 0.4]), abs=1e-4)

    def log_odds(at):
        p = model.named_logits(at, s_in).double().softmax(-1)[torch.arange(3), kind]
        return torch.log(p / (1 - p))

    gained = (log_odds(s + step) - log_odds(s)).detach().float() / NAME_TOLERANCE
    assert told[:2, 3] == pytest.approx(gained[:2], abs=1e-4)
    assert told[2, 3] == 0.0 and not told[:, 4:].any()
    assert torch.equal(model.metric(s)[:, :3], root[:, :3]) and not model.metric(s)[:, 3:].any()


def test_win_probabilities_and_priors_are_probabilities(model):
    s, s_in = torch.randn(6, 16), torch.randn(6, 16)
    wins = model.win_probability(s, s_in, model.context(6))
    assert wins.shape == (6,) and bool(((wins > 0) & (wins < 1)).all())
    assert model.code_log_prior(model.context(6), s_in).exp().sum(-1).tolist() == pytest.approx([1.0] * 6, abs=1e-5)


def test_a_saved_level_loads_to_the_same_numbers_and_a_damaged_one_is_refused(model, tmp_path):
    path = tmp_path / "high.safetensors"
    save_high(path, model, {"note": 1})
    window, mask = torch.rand(2, 40, 3) + 1.0, torch.ones(2, 40)
    assert torch.equal(load_high(path).encode(window, mask), model.encode(window, mask))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(WeightsError, match="not a hjepa checkpoint"):
        load_high(path)
    with pytest.raises(WeightsError, match="no weights"):
        load_high(tmp_path / "none.safetensors")


def test_answers_are_hit_on_the_flight_they_answer(pool):
    rows = np.flatnonzero(pool.previous >= 0)
    before = pool.previous[rows]
    for row, source in zip(rows[:40], before[:40], strict=True):
        path, _ = flight.fly(*_launch(pool, source), dt_s=0.002, steps=1500, L=pool.drag_m[source])
        assert pool.drag_m[row] == pool.drag_m[source]
        hit = pool.reading[row, 5:8] * np.array([-1.0, -1.0, 1.0])
        assert np.linalg.norm(path[0] - hit, axis=-1).min() < 0.15


def _launch(pool: Pool, row: int) -> tuple[np.ndarray, np.ndarray]:
    x = pool.window_m[row].astype(np.float64)
    v = (-3 * x[0] + 4 * x[1] - x[2]) / 0.02
    return x[:1], v[None]


def test_readings_of_the_pool_are_where_the_windows_lead(pool):
    rows = np.flatnonzero(np.isfinite(pool.reading[:, 4]))[:200]
    x, v = flight.fly(*_stack(pool, rows), dt_s=0.0, steps=0)
    fall = flight.land(x[:, 0], v[:, 0])
    assert np.median(np.linalg.norm(fall.xy_m - pool.reading[rows, :2], axis=-1)) < 0.05
    assert np.median(np.abs(fall.time_s - pool.reading[rows, 2])) < 0.015  # windows start up to 10 ms after the hit


def _stack(pool: Pool, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = pool.window_m[rows].astype(np.float64)
    return x[:, 0], (-11 * x[:, 0] + 18 * x[:, 1] - 9 * x[:, 2] + 2 * x[:, 3]) / 0.06


def test_the_tracker_is_noisy_and_drops_samples_and_a_cut_window_ends(pool):
    rng = np.random.default_rng(3)
    rows = np.arange(300)
    window, mask = observe(pool, rows, np.full(300, 10), rng, Noise(other_share=0.0))
    assert float(mask[:, 10:].sum()) == 0.0
    assert 0.005 < 1.0 - float(mask[:, :10].mean()) < 0.05
    error = (window[:, :10] - torch.from_numpy(pool.window_m[rows, :10]))[mask[:, :10].bool()]
    assert float(error.std()) == pytest.approx(0.010, rel=0.1)


def test_only_the_oldest_stroke_of_a_chain_is_cut(pool):
    rows = np.flatnonzero(pool.previous >= 0)[:64]
    batch = chains(pool, chain_rows(pool, rows, 3), np.random.default_rng(0), cut=1.0)
    assert batch.there[:, -1].all() and batch.full[:, -1].all()
    oldest = batch.there.argmax(dim=1)
    assert float(batch.full[torch.arange(64), oldest].sum()) == 0.0


def test_the_codebook_holds_typical_strokes_inside_the_court_and_codes_name_the_nearest(pool):
    book = make_codebook(pool, 12, seed=0)
    assert book.shape == (12, 4)
    assert (book[:, 1] >= -6.36).all() and (book[:, 1] <= -0.34).all() and (np.abs(book[:, 2]) <= 2.25).all()
    codes = code_of(pool, book)
    named = codes >= 0
    assert (book[codes[named], 0] == pool.type[named]).all()
    own = pool._replace(reading=pool.reading.copy(), type=pool.type.copy())
    own.reading[:12, :3], own.type[:12] = book[:, 1:], book[:, 0].astype(np.int64)
    assert code_of(own, book)[:12].tolist() == list(range(12))


def test_freak_strokes_do_not_widen_the_spread():
    rng = torch.Generator().manual_seed(0)
    gap = torch.randn(1000, 4, generator=rng) * torch.tensor([0.1, 1.0, 1.0, 1.0])
    freaks = gap.clone()
    freaks[:15] *= 100.0
    assert torch.allclose(spread(freaks), spread(gap), rtol=0.3, atol=0.05)


@pytest.mark.parametrize("stage", ["encoder", "rally"])
def test_a_killed_training_ends_where_an_uninterrupted_one_does(pool, tmp_path, stage):
    def run(folder, steps_before_the_kill):
        torch.manual_seed(5)
        seen = []

        def report(step, parts):
            seen.append((step, parts))
            if step == steps_before_the_kill:
                raise KeyboardInterrupt

        encoder = EncoderTraining(steps=51, chains=16, save_every=25)
        rally = RallyTraining(steps=51, chains=16, save_every=25, refresh=25)
        high = train_encoder(folder, replace(encoder, steps=1), SMALL, pool) if stage == "rally" else None
        if high is None:
            return train_encoder(folder, encoder, SMALL, pool, report), seen
        return train_rally(high, rally, pool, folder, report), seen

    whole, seen = run(tmp_path / "whole", -1)
    assert [step for step, _ in seen] == [0, 25, 50]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", 25)
    again, seen = run(tmp_path / "killed", -1)
    assert seen[0][0] == 25
    for (name, a), b in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_training_lowers_the_loss_and_goes_on_only_with_its_own_configuration(pool, tmp_path):
    losses = []
    settings = EncoderTraining(steps=76, chains=32, save_every=76)
    train_encoder(tmp_path, settings, SMALL, pool, lambda step, parts: losses.append(parts["loss"]))
    assert losses[-1] < 0.6 * losses[0]
    with pytest.raises(WeightsError, match="another configuration"):
        train_encoder(tmp_path, replace(settings, rate=1e-3), SMALL, pool)


def test_a_level_that_lost_the_stroke_is_not_written(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(high_training, "build_pool", lambda split, simulated, seed: pool)
    settings = HighTraining(encoder=EncoderTraining(steps=2, chains=16), rally=RallyTraining(steps=2, chains=16))
    with pytest.raises(WeightsError, match="landing_m"):
        high_training.train_high(tmp_path, settings)
    assert not list(tmp_path.glob("*.safetensors"))
