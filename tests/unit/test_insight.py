"""pytest tests/unit/test_insight.py: linear looks into embeddings, and what real strokes are asked."""

import numpy as np
import pytest
import torch

from hjepa.config import load
from hjepa.errors import DataError
from hjepa.insight import real
from hjepa.insight.linear import correlations, principal, probe_r2
from hjepa.insight.maps import latent_map, probe_table
from hjepa.tasks.badminton.strokes import load_strokes
from robots.spec import load_spec


def halves(z: np.ndarray, y: np.ndarray) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    return (z[::2], y[::2]), (z[1::2], y[1::2])


def test_a_probe_reads_what_is_linear_in_the_embedding() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 12)) * np.logspace(-3, 3, 12)  # whatever the units
    y = 5.0 + z @ rng.normal(size=(12, 2))
    assert probe_r2(*halves(z, y)) == pytest.approx(1.0, abs=1e-3)


def test_a_probe_reads_nothing_from_noise() -> None:
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(600, 100)), rng.normal(size=(600, 1))
    assert -0.1 < probe_r2(*halves(z, y)) < 0.05  # without a penalty: about -0.5


def test_a_probe_is_scored_on_what_it_was_not_fitted_on() -> None:
    """Another law on the held-out strokes: R2 far below zero, however well the fit is."""
    z = np.random.default_rng(2).normal(size=(200, 3))
    y = z[:, :1].copy()
    y[1::2] *= -1.0
    assert probe_r2(*halves(z, y)) == pytest.approx(-3.0, abs=0.1)


def test_a_probe_leaves_out_what_is_not_known() -> None:
    rng = np.random.default_rng(3)
    z = rng.normal(size=(300, 4))
    y = z[:, :1] * 2.0
    y[rng.random(300) < 0.4] = np.nan
    assert probe_r2(*halves(z, y)) == pytest.approx(1.0, abs=1e-3)
    assert np.isnan(probe_r2(*halves(z, np.full((300, 1), np.nan))))


def test_numbers_that_never_change_tell_nothing_and_do_no_harm() -> None:
    rng = np.random.default_rng(4)
    z = np.c_[rng.normal(size=(100, 2)), np.zeros(100)]
    z[1::2, 2] = 7.0  # but they do on the held-out strokes
    assert probe_r2(*halves(z, z[:, :1])) == pytest.approx(1.0, abs=1e-3)


def test_the_widest_axis_is_the_direction_that_was_stretched() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(size=(500, 6)) * 0.1
    hidden = rng.normal(size=500)
    z += hidden[:, None] * np.array([1, 1, 0, 0, 0, 0])
    axes = principal(z)
    assert axes.shares[0] > 0.9
    assert axes.shares.sum() == pytest.approx(1.0)
    assert abs(correlations(axes.scores[:, :2], hidden[:, None])[0, 0]) > 0.99
    with pytest.raises(DataError, match="at least 3"):
        principal(z[:2])


@pytest.fixture(scope="module")
def strokes() -> real.Real:
    return real.draw("val", 60, 0)


def test_strokes_are_of_their_split_known_and_long_enough(strokes: real.Real) -> None:
    table = load_strokes()
    assert set(table.match_split[table.match[strokes.rows]]) == {1}
    assert (table.time_s[strokes.rows] > real.MET_S).all() and (strokes.kind >= 0).all()


def test_the_low_level_sees_the_latest_samples_at_the_end_of_its_window(strokes: real.Real) -> None:
    class Watcher:
        """Keeps what it is shown."""

        class config:  # noqa: N801
            window = 64

        def see(self, *shown: torch.Tensor) -> torch.Tensor:
            self.window, self.mask, *_ = shown
            return torch.zeros(len(self.window), 2)

    level = Watcher()
    own = real.joints(strokes, load_spec("courtbot"), 0)
    real.low_embeddings(level, strokes, own)  # type: ignore[arg-type]
    newest, oldest = 64 - 1 - real.DELAY, 64 - real.SEEN
    assert not level.mask[:, :oldest].any() and not level.mask[:, newest + 1 :].any()
    for slot, sample in ((oldest, 0), (newest, real.SEEN - real.DELAY - 1)):
        there = level.mask[:, slot] > 0
        gap = (level.window[there, slot] - torch.from_numpy(strokes.pool.window_m[:, sample])[there]).norm(dim=-1)
        assert there.float().mean() > 0.9 and gap.median() < 0.05


def test_what_is_true_agrees_with_the_flight(strokes: real.Real) -> None:
    spec = load_spec("courtbot")
    own = real.joints(strokes, spec, 0)
    assert (own.q_rad >= spec.q_min_rad).all() and (own.q_rad <= spec.q_max_rad).all()
    truths = real.truths(strokes, own)
    table = load_strokes()
    assert truths["landing depth"][:, 0] == pytest.approx(-table.floor_m[strokes.rows, 0], abs=0.02)
    assert truths["time to floor"][:, 0] + 0.25 == pytest.approx(table.floor_s[strokes.rows], abs=0.01)
    ahead = truths["shuttle position"] + 0.01 * truths["shuttle velocity"]
    assert ahead == pytest.approx(strokes.pool.window_m[:, real.SEEN].astype(float), abs=0.02)
    after = strokes.rows + 1
    known = np.isfinite(truths["reply: landing"]).all(axis=1)
    assert known.any() and (table.rally[after[known]] == table.rally[strokes.rows[known]]).all()
    assert truths["reply: landing"][known] == pytest.approx(table.floor_m[after[known]])


def test_the_shipped_levels_know_where_a_stroke_lands_and_the_upper_ones_not_the_joints() -> None:
    table = probe_table(load("badminton"), 600)
    r2 = {asked: dict(zip(table.levels, line, strict=True)) for asked, line in zip(table.asked, table.r2, strict=True)}
    assert min(r2["landing depth"].values()) > 0.8
    assert r2["own joint speeds"]["low: z"] > 0.4 > 0.1 > r2["own joint speeds"]["high: s"]
    assert table.held == table.fitted == 600


def test_the_latent_map_reads_tempo_and_depth_of_strokes_it_was_not_fitted_on() -> None:
    found = latent_map(load("badminton"), 400)
    r2 = dict(zip(found.truths, found.r2, strict=True))
    assert r2["landing depth, m"] > 0.98 and r2["time to floor, s"] > 0.95
    assert found.scores.shape == (400, 6) and (np.diff(found.shares) <= 0).all()
    assert (found.correlation.max(axis=0) >= -found.correlation.min(axis=0)).all()  # axes point along what they show
    assert len(found.kind) == 400
