"""What every level says at moments of play, and probes of it. Legend: S moments, D embedding, T bins of time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hjepa.evaluation.metrics import Interval
from hjepa.insight.real import Real, rally_embeddings
from hjepa.insight.sense.levels_played import Played, Side, state, truths
from hjepa.insight.sense.levels_probes import RESAMPLES, Known, Probe, Score, interval, linear, mlp, score
from hjepa.models.high import HighModel
from hjepa.models.low import LowLevel
from hjepa.models.rally import RallyModel
from hjepa.tasks.badminton.strokes import load_strokes
from hjepa.training.rallies import from_launches
from hjepa.types import Array

SCORED_S = (0.2, 0.8)  # before the contact
CURVE_S = tuple(np.linspace(0.0, 1.0, 21).tolist())  # edges of the bins of time before the contact
CURVES = ("landing point", "time to usual contact", "shuttle position", "shuttle velocity")
CURVED = ("low", "high")
LEVELS = ("low", "high", "rally")
TRUTH = "true state"  # asked beside the levels: what no sensor could tell better
CHOSEN = (
    "landing point",
    "time to contact",
    "time to usual contact",
    "time to floor",
)  # that the true state is asked for


class Models(NamedTuple):
    """The levels."""

    low: LowLevel
    high: HighModel
    rally: RallyModel


class Asked(NamedTuple):
    """One split: what levels say, and what is true."""

    played: Played
    z: dict[str, Array]  # (S, D) by level
    truths: dict[str, Array]  # (S, n)

    def known(self, level: str, what: str, rows: NDArray[np.bool_]) -> Known:
        """Embeddings and a quantity, of some moments, where it is known."""
        return Known(self.z[level][rows], self.truths[what][rows], self.played.stroke[rows]).whole()

    def within(self, span_s: tuple[float, float]) -> NDArray[np.bool_]:
        """(S,) True for moments so long before the contact, both bounds included."""
        to_go = self.played.to_go_s
        out: NDArray[np.bool_] = (to_go >= span_s[0] - 1e-9) & (to_go <= span_s[1] + 1e-9)
        return out


@torch.no_grad()
def ask(models: Models, side: Side) -> Asked:
    """Every level, at every moment: the low one with the observation, the high one with the flight since its hit, the
    rally one with the strokes so far, as they were annotated."""
    p = side.played
    low = models.low.see(*(_tensor(x) for x in (p.window_m, p.mask, p.q_rad, p.dq_rad_s)))
    high = models.high.encode(_tensor(p.flight_m), _tensor(p.flight_mask))
    rows, at = np.unique(p.stroke, return_inverse=True)
    table = load_strokes()
    pool = from_launches(table.hit_m[rows], table.launch_m_s[rows], np.random.default_rng(0))
    rally = rally_embeddings(models.rally, Real(rows, pool, side.split))[at]
    z = {"low": low.double().numpy(), "high": high.double().numpy(), "rally": rally, TRUTH: state(p)}
    return Asked(p, z, truths(p))


def _tensor(x: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


Read = dict[str, dict[str, dict[str, Score]]]  # by quantity, level, probe


def read(fit: Asked, held: Asked, seed: int, epochs: int) -> Iterator[tuple[str, dict[str, dict[str, Score]]]]:
    """Every quantity in turn: its scores by level and probe."""
    rows, held_rows = fit.within(SCORED_S), held.within(SCORED_S)
    for what in fit.truths:
        found: dict[str, dict[str, Score]] = {}
        for level in (*LEVELS, TRUTH) if what in CHOSEN else LEVELS:
            known, asked = fit.known(level, what, rows), held.known(level, what, held_rows)
            probes = {"linear": linear(known), "MLP": mlp(known, seed, epochs)}
            found[level] = {name: score(p, asked, np.random.default_rng([seed, 63])) for name, p in probes.items()}
        yield what, found


class Drawn(NamedTuple):
    """How far the time to contact is the oracle's choice: its contacts with two draws of its candidates."""

    rmse: Interval  # s, of whoever knows all but the draw
    r2: Interval  # that such a one would have
    strokes: int  # hit with both draws


def drawn(side: Side, rng: np.random.Generator) -> Drawn:
    """The spread between two draws, beside that of the time to contact over the scored moments."""
    gap = np.diff(side.contact_s, axis=1)[:, 0]
    square = gap[np.isfinite(gap)] ** 2 / 2
    low_s, high_s = SCORED_S
    to_go_s = side.played.to_go_s
    total = to_go_s[(to_go_s >= low_s) & (to_go_s <= high_s)].var()
    many = len(square)
    means = square[rng.integers(many, size=(RESAMPLES, many))].mean(axis=1) if many else np.zeros(0)
    mean = float(square.mean()) if many else float("nan")
    rmse = interval(float(np.sqrt(mean)), np.sqrt(means))
    return Drawn(rmse, interval(1.0 - mean / total, 1.0 - means / total), many)


Curve = dict[str, dict[str, list[Score | None]]]  # by level, probe: (T,), None without moments


def curve(fit: Asked, held: Asked, what: str, seed: int, epochs: int) -> Curve:
    """Scores of one quantity by time before the contact, of probes that are fitted on the whole span."""
    span = (CURVE_S[0], CURVE_S[-1])
    found: Curve = {}
    for level in CURVED:
        known = fit.known(level, what, fit.within(span))
        probes = {"linear": linear(known), "MLP": mlp(known, seed, epochs)}
        found[level] = {name: [_in_bin(probe, held, level, what, k, seed) for k in range(len(CURVE_S) - 1)]
                        for name, probe in probes.items()}  # fmt: skip
    return found


def _in_bin(probe: Probe, held: Asked, level: str, what: str, k: int, seed: int) -> Score | None:
    known = held.known(level, what, held.within((CURVE_S[k], CURVE_S[k + 1])))
    return score(probe, known, np.random.default_rng([seed, 64, k])) if len(known.y) else None
