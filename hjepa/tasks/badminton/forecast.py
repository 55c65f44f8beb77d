"""The stroke-forecasting benchmark: its metric, its file, and forecasts that six samples sum up as well as they can.

CoachAI Challenge 2023, track 2: from four strokes of a rally and its length, six samples of the other strokes, each a
probability of every type and a landing point a stroke. A rally's score is that of its best sample: the mean over its
strokes of -log p(type), plus the mean over strokes and both axes of the landing error, in the file's units; the figure
is the mean over rallies. A forecaster says what it believes (`Belief`); a policy makes six samples of that, and can be
the same for all forecasters. Legend: R rallies, S futures drawn, M strokes to come, T types, K samples.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError
from hjepa.tasks.badminton.rallies import LANDING_M, Rallies, Truth, landing_official, table_lines, told, truth_of
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import Array

SAMPLES = 6  # K
T = len(TYPES)
WORST = 1000.0  # what an infinite log loss counts as
OFFSETS = ((-0.8, 0.75), (0.0, 0.75), (0.8, 0.75), (-0.8, 1.15), (0.0, 1.15), (0.8, 1.15))
"""Landing points of a fixed policy: landing_x, and a factor of the usual depth (anchors of the benchmark)."""


class Belief(NamedTuple):
    """What a forecaster believes of one rally's M strokes to come; landing points canonical, see rallies."""

    types: Array  # (M, T) marginal probabilities
    land_m: Array  # (M, 2) usual landing point
    drawn_type: NDArray[np.int8]  # (S, M) futures drawn
    drawn_m: Array  # (S, M, 2)


class Forecaster(Protocol):
    """Believes something of rallies whose first strokes were told."""

    name: str

    def believe(self, given: Rallies, draws: int, seed: int) -> list[Belief]: ...


class Forecast(NamedTuple):
    """Six samples of one rally's strokes to come, in the file's units."""

    types: Array  # (K, M, T)
    landing: Array  # (K, M, 2) landing_x, landing_y


class Policy(Protocol):
    """Makes six samples of a belief: type probabilities (K, M, T) and canonical landing points (K, M, 2)."""

    name: str

    def samples(self, belief: Belief, seed: int) -> tuple[Array, Array]: ...


class Fixed:
    """The marginal types six times, and landing points at fixed places: nothing depends on what was drawn."""

    def __init__(self, offsets: Sequence[tuple[float, float]] = OFFSETS, name: str = "fixed offsets") -> None:
        self.offsets, self.name = np.array(offsets), name

    def samples(self, belief: Belief, seed: int = 0) -> tuple[Array, Array]:
        """Offsets: landing_x (in the file's units from the centre line) and a factor of the usual depth."""
        m = len(belief.types)
        land = np.empty((len(self.offsets), m, 2))
        land[..., 0] = belief.land_m[:, 0] * self.offsets[:, 1:]
        turn = np.where(np.arange(m) % 2 == 0, 1.0, -1.0)  # canonical frames turn with every stroke, the court does not
        land[..., 1] = LANDING_M[1] * self.offsets[:, :1] * turn
        return np.broadcast_to(belief.types, (len(land), *belief.types.shape)), land


def tuned(forecaster: Forecaster, rallies: Rallies) -> Fixed:
    """The six fixed places that serve a forecaster best on whole rallies, such as those it was counted from.

    Chosen from a grid, each exchanged for a better one until none is: types are the same in all samples, so a rally's
    best sample is the one that lands best.
    """
    grid = [(x, depth) for x in np.linspace(-1.2, 1.2, 13) for depth in np.linspace(0.5, 1.3, 9)]
    given, truth = told(rallies)
    errors = np.empty((len(given.name), len(grid)))
    firsts = given.first
    for r, belief in enumerate(forecaster.believe(given, 1, 0)):
        actual = truth_of(truth, int(given.name[r])).landing
        sides = later_sides(given, r, len(belief.types), int(firsts[r]))
        land = landing_official(Fixed(grid).samples(belief)[1], sides)
        errors[r] = np.abs(land - actual).mean(axis=(1, 2))
    places = np.array(grid)
    chosen = [int(np.abs(places - offset).sum(axis=1).argmin()) for offset in np.array(OFFSETS)]
    best = np.inf
    while (now := errors[:, chosen].min(axis=1).mean()) < best - 1e-6:
        best = now
        for k in range(SAMPLES):
            others = errors[:, chosen[:k] + chosen[k + 1 :]].min(axis=1)
            chosen[k] = int(np.minimum(others[:, None], errors).mean(axis=0).argmin())
    return Fixed([grid[k] for k in chosen], "tuned offsets")


class Once:
    """One sample, six times: what is believed, without any spread."""

    name = "one sample"

    def samples(self, belief: Belief, seed: int = 0) -> tuple[Array, Array]:
        """Marginal types, usual landing points."""
        shape = (SAMPLES, *belief.types.shape)
        return np.broadcast_to(belief.types, shape), np.broadcast_to(belief.land_m, (*shape[:2], 2))


class Quantised:
    """Six samples of least expected score under the futures drawn (Lloyd's algorithm in the benchmark's own loss).

    Every future belongs to the sample that scores it best; a sample's types are the shares among its futures, with
    `prior` futures of the marginal added, its landing points their medians. Honest forecasters gain, others lose.
    """

    name = "quantised"

    def __init__(self, prior: float = 30.0, rounds: int = 20) -> None:
        self.prior, self.rounds = prior, rounds

    def samples(self, belief: Belief, seed: int = 0) -> tuple[Array, Array]:
        """See the class."""
        kinds, land = belief.drawn_type, belief.drawn_m
        count, m = kinds.shape
        hot = np.eye(T)[kinds]  # (S, M, T)
        units = land / LANDING_M
        rng = np.random.default_rng([seed, 29])
        mine = self._start(hot, units, belief.types, rng)
        for _ in range(self.rounds):
            member = np.eye(SAMPLES)[mine].T  # (K, S)
            shares = member @ hot.reshape(count, -1)
            total = member.sum(axis=1)
            types = (shares.reshape(SAMPLES, m, T) + self.prior * belief.types) / (total[:, None, None] + self.prior)
            points = np.stack(
                [np.median(units[mine == k], axis=0) if total[k] else np.median(units, axis=0) for k in range(SAMPLES)]
            )
            before, mine = mine, _losses(types, points, hot, units).argmin(axis=0)
            if np.array_equal(before, mine):
                break
        return types, points * LANDING_M

    def _start(self, hot: Array, units: Array, marginal: Array, rng: np.random.Generator) -> NDArray[np.int64]:
        """Memberships (S,) around six futures that are far from one another (k-means++)."""
        at = [int(rng.integers(len(hot)))]
        for _ in range(SAMPLES):
            types = (hot[at] + 0.5 * marginal) / 1.5
            losses = _losses(types, units[at], hot, units)
            if len(at) == SAMPLES:
                break
            least = losses.min(axis=0)
            least = np.maximum(least - least.min(), 1e-9)
            at.append(int(rng.choice(len(hot), p=least / least.sum())))
        return losses.argmin(axis=0)


def _losses(types: Array, points: Array, hot: Array, units: Array) -> Array:
    """Score (K, S) of every sample if a drawn future came true."""
    m = hot.shape[1]
    cross = -np.log(np.maximum(types, 1e-12)).reshape(len(types), -1) @ hot.reshape(len(hot), -1).T / m
    error = np.abs(points[:, None] - units[None]).mean(axis=(2, 3))
    found: Array = cross + error
    return found


def forecast(forecaster: Forecaster, policy: Policy, given: Rallies, draws: int = 600, seed: int = 0) -> list[Forecast]:
    """Six samples for every rally, in order."""
    found = []
    firsts = given.first
    for r, belief in enumerate(forecaster.believe(given, draws, seed)):
        types, land = policy.samples(belief, seed + r)
        sides = later_sides(given, r, len(belief.types), int(firsts[r]))
        found.append(Forecast(np.asarray(types), landing_official(land, sides)))
    return found


def later_sides(given: Rallies, r: int, count: int, first: int) -> Array:
    """Side (M,) of the hitter of each stroke to come."""
    known = int(np.sum(given.rally == r))
    turn = np.where((known + np.arange(count)) % 2 == 0, 1, -1)
    return turn * given.side[first].astype(np.float64)


class Score(NamedTuple):
    """The benchmark's figure and its two parts, of each rally (R,)."""

    total: Array
    cross_entropy: Array
    error: Array

    def means(self) -> tuple[float, float, float]:
        """As the leaderboard prints them."""
        return float(self.total.mean()), float(self.cross_entropy.mean()), float(self.error.mean())


def score(forecasts: list[Forecast], given: Rallies, truth: Truth) -> Score:
    """Each rally's best sample. DataError where a forecast has not the truth's strokes."""
    parts = []
    for name, f in zip(given.name, forecasts, strict=True):
        actual = truth_of(truth, int(name))
        many = len(actual.type)
        if many != f.types.shape[1]:
            raise DataError(f"rally_id {name}: {f.types.shape[1]} strokes are forecast; allowed: {many}")
        with np.errstate(divide="ignore"):
            loss = -np.log(f.types[:, np.arange(many), actual.type])
        loss = np.where(np.isfinite(loss), loss, WORST).mean(axis=1)
        error = np.abs(f.landing - actual.landing).mean(axis=(1, 2))
        best = int(np.argmin(loss + error))
        parts.append((loss[best] + error[best], loss[best], error[best]))
    return Score(*np.array(parts).reshape(-1, 3).T)


COLUMNS = ("rally_id", "sample_id", "ball_round", "landing_x", "landing_y", *TYPES)


def write_forecast(path: Path, given: Rallies, forecasts: list[Forecast]) -> None:
    """The challenge's prediction.csv."""
    many = np.bincount(given.rally, minlength=len(given.name))
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(COLUMNS)
        for name, known, f in zip(given.name, many, forecasts, strict=True):
            for k in range(SAMPLES):
                for m in range(f.types.shape[1]):
                    row: list[Any] = [name, k, known + m + 1, *(f"{v:.6f}" for v in f.landing[k, m])]
                    writer.writerow(row + [f"{p:.8f}" for p in f.types[k, m] / f.types[k, m].sum()])


def read_forecast(path: Path, given: Rallies) -> list[Forecast]:
    """A prediction.csv for these rallies; DataError with file, line and column for anything else."""
    table: dict[tuple[int, int, int], tuple[list[float], list[float]]] = {}
    for line, row in table_lines(path, COLUMNS):
        try:
            key = (int(row["rally_id"]), int(row["sample_id"]), int(row["ball_round"]))
            values = [float(row[c]) for c in COLUMNS[3:]]
        except ValueError:
            raise DataError(f"{path}, line {line}: not numbers; allowed: {', '.join(COLUMNS)}") from None
        p = np.array(values[2:])
        if not (np.isfinite(values).all() and (p >= 0).all() and abs(p.sum() - 1) < 1e-3):
            raise DataError(f"{path}, line {line}: allowed: finite landing, probabilities that sum to 1")
        table[key] = values[:2], values[2:]
    found = []
    many = np.bincount(given.rally, minlength=len(given.name))
    for name, known, first in zip(given.name, many, given.first, strict=True):
        rounds = range(known + 1, int(given.length[first]) + 1)
        lacking = [(k, m) for k in range(SAMPLES) for m in rounds if (int(name), k, m) not in table]
        if lacking:
            raise DataError(f"{path}: lacks rally_id {name}, sample_id {lacking[0][0]}, ball_round {lacking[0][1]}")
        rows = [[table[int(name), k, m] for m in rounds] for k in range(SAMPLES)]
        found.append(Forecast(np.array([[r[1] for r in s] for s in rows]), np.array([[r[0] for r in s] for s in rows])))
    return found
