"""From strokes to a curve: what a return costs as effort weighs more, and how others do at the same return rate.

A mix of two settings (one of them drawn for each stroke) is an agent too, with the mean of their rates and energies:
between the settings that were played the curve is the least energy of such mixes. Legend: N strokes, S settings,
R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hjepa.evaluation.metrics import Interval, cluster_bootstrap, rate
from hjepa.insight.sense.effort_play import Stroke
from hjepa.types import Array


class Point(NamedTuple):
    """A setting on the curve, or a rival beside it."""

    strokes: int
    returns: int
    returned: Interval
    stroke_j: Interval  # mean energy of a stroke
    before_j: Interval  # of it until the contact: the way there, which the planner weighs
    return_j: Interval  # all energy over all returns; infinite without one


class Ratio(NamedTuple):
    """Energies, ours over another's; what is below 1 is less."""

    per_stroke: Interval
    per_return: Interval  # not a number where neither returns anything
    rate_difference: Interval  # ours minus the other's


class Equal(NamedTuple):
    """The least energy of a stroke at a return rate at least as high as another's."""

    ratio: Interval  # over the other's; infinite where the curve does not reach the rate
    settings: tuple[str, ...]  # the one setting, or the two that are mixed; none where the rate is not reached


class Costs:
    """Columns of strokes that are the same for all settings."""

    def __init__(self, parts: Mapping[str, Sequence[Stroke]], seed: int) -> None:
        """parts: (N,) strokes by setting, in the same order for each."""
        rows = {name: list(strokes) for name, strokes in parts.items()}
        first = next(iter(rows.values()))
        assert all([s.id for s in strokes] == [s.id for s in first] for strokes in rows.values())
        self.matches = [s.match for s in first]  # clusters of the bootstrap
        self.rows, self._seed = rows, seed
        self.energy_j = {name: np.array([s.effort_j for s in strokes]) for name, strokes in rows.items()}  # (N,)
        self.before_j = {name: np.array([s.before_j for s in strokes]) for name, strokes in rows.items()}  # (N,)
        self.returned = {name: np.array([float(s.returned) for s in strokes]) for name, strokes in rows.items()}

    def point(self, name: str) -> Point:
        """A setting's place in the picture."""
        energy, returned = self.energy_j[name], self.returned[name]
        return Point(
            len(energy),
            int(returned.sum()),
            rate(bool(flag) for flag in returned),
            self._interval(lambda w: _over(w @ energy, w.sum(1))),
            self._interval(lambda w: _over(w @ self.before_j[name], w.sum(1))),
            self._interval(lambda w: _over(w @ energy, w @ returned)),
        )

    def ratio(self, ours: str, other: str) -> Ratio:
        """A setting against another one, stroke by stroke."""
        a, b, won, lost = self.energy_j[ours], self.energy_j[other], self.returned[ours], self.returned[other]
        return Ratio(
            self._interval(lambda w: _over(w @ a, w @ b)),
            self._interval(lambda w: _over((w @ a) * (w @ lost), (w @ won) * (w @ b))),
            self._interval(lambda w: _over(w @ (won - lost), w.sum(1))),
        )

    def at_equal_rate(self, settings: Sequence[str], other: str) -> Equal:
        """The curve of some settings against another agent; what is mixed is chosen anew in every resample."""
        energy, returned = (np.stack([part[name] for name in settings]) for part in (self.energy_j, self.returned))
        theirs, wanted = self.energy_j[other], self.returned[other]

        def least(w: Array) -> Array:
            total = w.sum(1)
            rates, costs = (w @ returned.T) / total[:, None], (w @ energy.T) / total[:, None]
            return _over(least_energy(rates, costs, w @ wanted / total)[0], w @ theirs / total)

        ones = np.ones((1, len(self.matches)))
        shares = (ones @ returned.T / ones.sum(), ones @ energy.T / ones.sum(), ones @ wanted / ones.sum())
        _, mixed = least_energy(*shares)
        return Equal(self._interval(least), tuple(settings[k] for k in dict.fromkeys(mixed[0].tolist()) if k >= 0))

    def _interval(self, statistic: Any) -> Interval:
        return cluster_bootstrap(self.matches, statistic, np.random.default_rng([self._seed, 5]))


def least_energy(rates: Array, energies: Array, wanted: Array) -> tuple[Array, Array]:
    """Least energy (R,) of one setting or a mix of two (rates, energies: (R, S)) that returns at least `wanted` (R,).

    Also which settings, (R, 2): twice the same for one alone; -1 and infinite energy where none returns so much.
    """
    enough = rates >= wanted[:, None]
    best = np.where(enough, energies, np.inf)
    which = np.repeat(best.argmin(1)[:, None], 2, axis=1)
    least = best.min(1)
    for i in range(rates.shape[1]):
        for j in range(rates.shape[1]):
            apart = enough[:, i] & ~enough[:, j]
            share = _over(np.where(apart, wanted - rates[:, j], 0.0), np.where(apart, rates[:, i] - rates[:, j], 1.0))
            mixed = np.where(apart, energies[:, j] + share * (energies[:, i] - energies[:, j]), np.inf)
            better = mixed < least
            least = np.where(better, mixed, least)
            which[better] = (i, j)
    which[~np.isfinite(least)] = -1
    return least, which


def _over(above: Array, below: Array) -> Array:
    """Quotient; infinite over nothing, not a number where both are nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(above / below)
