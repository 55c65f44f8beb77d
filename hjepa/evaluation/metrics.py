"""Numbers with their uncertainty: Wilson intervals, medians, a paired bootstrap, and the summary `hjepa eval` writes.

Legend: N strokes, R resamples.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hjepa.errors import DataError
from hjepa.evaluation.results import NAN, Point, StrokeResult
from hjepa.types import Array

Z_95 = 1.959963984540054  # two-sided 95 % point of the normal distribution
ZONE_M = 1.0  # side of a placement cell on the floor


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Spread:
    median: float
    p90: float


@dataclass(frozen=True)
class Latency:
    p50: float
    p99: float


@dataclass(frozen=True)
class PlanTimes:
    low: Latency
    high: Latency


@dataclass(frozen=True)
class ShotRealised:
    """Share of hits whose flight is classified as the commanded type; `value` is the macro-average over types."""

    value: float
    classifier_accuracy: float  # of the same frozen classifier on real test strokes
    per_type: dict[str, float]
    commanded: dict[str, int]  # how often each type was commanded


@dataclass(frozen=True)
class Entropy:
    """Placement entropy in bits over 1 m cells: how unpredictable the chosen targets are."""

    value: float
    humans: float


@dataclass(frozen=True)
class Summary:
    """What `hjepa eval --json` writes, key for key."""

    episodes: int
    feasible: int
    hit_rate: Interval
    return_rate: Interval
    return_rate_feasible: Interval
    within_1m_rate: Interval  # returned, and within 1 m of the committed target
    landing_error_m: Spread
    shot_realised: ShotRealised
    racket_speed_m_s: Spread
    effort_j: Spread
    candidates: float
    mflop: float
    placement_entropy: Entropy
    clock: str
    plan_ms: PlanTimes
    deadline_misses: int
    wall_s: float

    def to_json(self) -> str:
        """JSON text; what is not a number becomes null."""
        return json.dumps(_null_nan(asdict(self)), indent=2) + "\n"


def _null_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _null_nan(inner) for name, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def wilson(successes: int, trials: int, z: float = Z_95) -> Interval:
    """Score interval of a share (Wilson 1927). No trials: value nan, interval 0 to 1."""
    if not 0 <= successes <= trials:
        raise DataError(f"{successes} successes of {trials} trials; allowed: 0 to {trials}")
    if trials == 0:
        return Interval(NAN, 0.0, 1.0)
    p = successes / trials
    centre = p + z * z / (2 * trials)
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # the bounds are exact at the ends; rounding must not put them on the wrong side of the value
    lo = 0.0 if successes == 0 else (centre - half) / scale
    hi = 1.0 if successes == trials else (centre + half) / scale
    return Interval(p, lo, hi)


def poisson(count: int, exposure: float) -> Interval:
    """Rate of events per unit of exposure, with the exact interval (Garwood 1936)."""
    if count < 0 or exposure <= 0:
        raise DataError(f"{count} events in an exposure of {exposure}; allowed: 0 or more, in more than 0")
    lo = 0.0 if count == 0 else _poisson_mean(count - 1, 0.975)
    return Interval(count / exposure, lo / exposure, _poisson_mean(count, 0.025) / exposure)


def _poisson_mean(count: int, share: float) -> float:
    """The mean of which at most `count` events have that probability: bisection."""
    low, high = 0.0, 3.0 * count + 20.0
    for _ in range(60):
        mean = 0.5 * (low + high)
        below = sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count + 1))
        low, high = (mean, high) if below > share else (low, mean)
    return 0.5 * (low + high)


def rate(flags: Iterable[bool]) -> Interval:
    """Wilson interval of the share of True."""
    listed = list(flags)
    return wilson(sum(listed), len(listed))


def quantile(values: Iterable[float], q: float) -> float:
    """Quantile by linear interpolation, not-a-numbers left out; nan when nothing is left."""
    finite = [v for v in values if math.isfinite(v)]
    return float(np.quantile(finite, q)) if finite else NAN


def spread(values: Iterable[float]) -> Spread:
    listed = list(values)
    return Spread(quantile(listed, 0.5), quantile(listed, 0.9))


def latency(values: Iterable[float]) -> Latency:
    listed = list(values)
    return Latency(quantile(listed, 0.5), quantile(listed, 0.99))


def within(result: StrokeResult, radius_m: float = 1.0) -> bool:
    """Returned, and landed within a radius of the committed target."""
    return result.returned and result.landing_error_m <= radius_m


def placement_entropy(points: Iterable[Point]) -> float:
    """Shannon entropy (bits) of points on the floor over 1 m cells, with the Miller-Madow (1955) bias correction."""
    cells = Counter((math.floor(x / ZONE_M), math.floor(y / ZONE_M)) for x, y in points if math.isfinite(x + y))
    total = sum(cells.values())
    if total == 0:
        return NAN
    plain = -sum(n / total * math.log2(n / total) for n in cells.values())
    return plain + (len(cells) - 1) / (2 * total * math.log(2))


def shot_realised(results: Iterable[StrokeResult], classifier_accuracy: float = NAN) -> ShotRealised:
    """Over hits that had a commanded type: share realised, by type and macro-averaged."""
    hits = [r for r in results if r.hit and r.commanded_type]
    commanded = Counter(r.commanded_type for r in hits)
    right = Counter(r.commanded_type for r in hits if r.realised_type == r.commanded_type)
    shares = {name: right[name] / count for name, count in sorted(commanded.items())}
    macro = float(np.mean(list(shares.values()))) if shares else NAN
    return ShotRealised(macro, classifier_accuracy, shares, dict(sorted(commanded.items())))


def paired_bootstrap(
    ours: Sequence[StrokeResult],
    others: Sequence[StrokeResult],
    value: Callable[[StrokeResult], float],
    rng: np.random.Generator,
    resamples: int = 4000,
) -> Interval:
    """Mean of value(ours) - value(others) over the strokes both played, with a 95 % interval.

    Strokes are paired by id and training seed. Matches and seeds are resampled independently and a stroke counts as
    often as both were drawn (pigeonhole bootstrap, Owen 2007), so that neither strokes of one match nor runs of one
    seed are taken for independent. Pairs whose difference is not a number are left out.
    """
    theirs = {(r.id, r.seed): r for r in others}
    pairs = [(r, theirs[r.id, r.seed]) for r in ours if (r.id, r.seed) in theirs]
    kept = [(a, float(value(a)) - float(value(b))) for a, b in pairs]
    kept = [(a, d) for a, d in kept if math.isfinite(d)]
    if not kept:
        raise DataError(f"no stroke in common: {len(ours)} strokes against {len(others)}; pairs share id and seed")
    difference = np.array([d for _, d in kept])  # (N,)
    weight = _draws([a.match for a, _ in kept], resamples, rng) * _draws([a.seed for a, _ in kept], resamples, rng)
    total = weight.sum(1)  # (R,)
    means = (weight @ difference)[total > 0] / total[total > 0]
    lo, hi = np.quantile(means, [0.025, 0.975])
    return Interval(float(difference.mean()), float(lo), float(hi))


def cluster_bootstrap(
    labels: Sequence[str],
    statistic: Callable[[Array], Array],
    rng: np.random.Generator,
    resamples: int = 4000,
) -> Interval:
    """A statistic of N strokes with its 95 % interval, matches (labels) being resampled with all their strokes.

    statistic: weights (R, N) of the strokes -> values (R,); the same weights for whatever it compares keep it paired.
    Infinite values are kept: an interval may end at infinity. Resamples where it is not a number are left out.
    """
    value = statistic(np.ones((1, len(labels))))
    weight = _draws(labels, resamples, rng)
    drawn = statistic(weight[weight.sum(1) > 0])
    known = drawn[~np.isnan(drawn)]
    if not len(known):
        return Interval(float(value[0]), NAN, NAN)
    lo, hi = np.quantile(known, [0.025, 0.975], method="nearest")
    return Interval(float(value[0]), float(lo), float(hi))


def _draws(labels: Sequence[str] | Sequence[int], resamples: int, rng: np.random.Generator) -> Array:
    """How often each stroke's cluster is drawn, (R, N)."""
    _, index = np.unique(np.array(labels), return_inverse=True)
    clusters = int(index.max()) + 1
    counts = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)  # (R, clusters)
    return counts[:, index].astype(np.float64)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return float(np.mean(listed)) if listed else NAN


def summarise(
    results: Sequence[StrokeResult],
    *,
    clock: str,
    wall_s: float,
    classifier_accuracy: float = NAN,
    humans_entropy: float = NAN,
) -> Summary:
    """All figures of a list of strokes. Landing error, racket speed and shot type count over hits."""
    hits = [r for r in results if r.hit]
    return Summary(
        episodes=len(results),
        feasible=sum(r.feasible for r in results),
        hit_rate=rate(r.hit for r in results),
        return_rate=rate(r.returned for r in results),
        return_rate_feasible=rate(r.returned for r in results if r.feasible),
        within_1m_rate=rate(within(r) for r in results),
        landing_error_m=spread(r.landing_error_m for r in hits),
        shot_realised=shot_realised(results, classifier_accuracy),
        racket_speed_m_s=spread(r.racket_speed_m_s for r in hits),
        effort_j=spread(r.effort_j for r in results),
        candidates=_mean(r.candidates for r in results),
        mflop=_mean(r.mflop for r in results),
        placement_entropy=Entropy(placement_entropy(r.target_xy_m for r in results), humans_entropy),
        clock=clock,
        plan_ms=PlanTimes(
            latency(ms for r in results for ms in r.plan_ms_low), latency(ms for r in results for ms in r.plan_ms_high)
        ),
        deadline_misses=sum(r.deadline_misses for r in results),
        wall_s=wall_s,
    )
