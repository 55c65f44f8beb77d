"""The forecasting benchmark's table: forecasters beside one another, the same policies of sampling for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from hjepa.tasks.badminton.chains import Chain
from hjepa.tasks.badminton.forecast import (
    Belief,
    Fixed,
    Forecaster,
    Once,
    Policy,
    Quantised,
    Score,
    forecast,
    score,
    tuned,
)
from hjepa.tasks.badminton.rallies import Rallies, Truth
from hjepa.types import Array

REFERENCE = "second-order counts, places"  # what the others are compared with, rally by rally
PUBLISHED = (  # CoachAI Challenge 2023, track 2, final leaderboard, most likely on test (arXiv 2306.15664v3)
    ("Advanced ShuttleNet (arXiv 2307.13715), test", 2.5776, 1.7892, 0.7884),
    ("MuLMINet (arXiv 2307.08262), test", 2.5830, 1.8127, 0.7703),
    ("ShuttleNet, the official baseline, test", 2.8774, 2.1777, 0.6997),
)
_RESAMPLES = 4000


class Row(NamedTuple):
    """A forecaster under a policy."""

    name: str
    policy: str
    total: float
    cross_entropy: float
    error: float
    over: tuple[float, float, float]  # total less the reference's under the same policy: mean and 95 % interval


class Believed:
    """A forecaster asked once: every policy works on the same belief."""

    def __init__(self, forecaster: Forecaster) -> None:
        self.name, self._forecaster = forecaster.name, forecaster
        self._known: dict[tuple[int, int, int], list[Belief]] = {}

    def believe(self, given: Rallies, draws: int, seed: int) -> list[Belief]:
        """See forecast.Forecaster."""
        key = id(given), draws, seed
        if key not in self._known:
            self._known[key] = self._forecaster.believe(given, draws, seed)
        return self._known[key]


def counting(train: Rallies) -> list[Chain]:
    """The forecasters that count."""
    return [Chain(train, 0), Chain(train, 1), Chain(train, 2), Chain(train, 2, places=True)]


def table(
    forecasters: Sequence[Forecaster], given: Rallies, truth: Truth, train: Rallies, draws: int = 600, seed: int = 0
) -> Iterator[Row]:
    """Rows as they are found, the reference first. train: rallies that the offsets of a policy are tuned on."""
    ordered = sorted(forecasters, key=lambda f: f.name != REFERENCE)
    policies: list[Callable[[Forecaster], Policy]] = [
        lambda _: Once(), lambda _: Fixed(), lambda f: tuned(f, train), lambda _: Quantised(),
    ]  # fmt: skip
    reference: dict[str, Score] = {}
    for forecaster in ordered:
        asked = Believed(forecaster)
        for make in policies:
            policy = make(forecaster)
            found = score(forecast(asked, policy, given, draws, seed), given, truth)
            reference.setdefault(policy.name, found)
            over = interval(found.total - reference[policy.name].total)
            yield Row(forecaster.name, policy.name, *found.means(), over)


def interval(differences: Array, seed: int = 0) -> tuple[float, float, float]:
    """Mean and 95 % bootstrap interval of paired differences (R,)."""
    rng = np.random.default_rng(seed)
    means = differences[rng.integers(len(differences), size=(_RESAMPLES, len(differences)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def next_log_loss(chain: Chain, rallies: Rallies) -> Array:
    """-log p(type) (M,) of every stroke but the serves, from the true strokes before it."""
    order = max(1, chain.order)
    rows = np.flatnonzero(rallies.shot >= 1)
    found = np.empty(len(rows))
    for k, row in enumerate(rows):
        before = rallies.type[max(row - order, row - rallies.shot[row]) : row].astype(np.int64)
        short = len(before) < order  # the second stroke has but one before it
        p = chain.lower(before) if short else chain.next(before, rallies.land_m[row - 1])
        found[k] = -np.log(p[rallies.type[row]])
    return found
