"""The deadline ledger's figures: how long each leg takes, how often a command is late, and which leg is to blame."""

from typing import NamedTuple

import numpy as np
import pytest

from hjepa.bus.stats import LEGS, durations_ms, summarise

MS = 1_000_000


class Entry(NamedTuple):
    """What the figures need of a ledger."""

    observed_ns: int
    goal_ns: int
    latent_ns: int
    command_ns: int
    actuated_ns: int
    late: bool


def entry(*legs_ms, late=False, start_ns=50 * 86_400 * 1_000_000_000):
    return Entry(*(start_ns + round(t * MS) for t in np.cumsum([0, *legs_ms])), late)


def test_legs_are_exact_even_days_after_boot():
    assert durations_ms([entry(1.000001, 2, 3, 4)]).tolist() == [[1.000001, 2.0, 3.0, 4.0]]


def test_figures_are_those_of_the_ledgers():
    stats = summarise([entry(k, 2, 3, 4) for k in range(1, 102)])
    assert [leg.name for leg in stats.legs] == [*LEGS, "observed -> actuated"]
    first, whole = stats.legs[0], stats.legs[-1]
    assert (first.p50_ms, first.p99_ms, first.max_ms) == (51.0, 100.0, 101.0)
    assert (whole.p50_ms, whole.max_ms) == (60.0, 110.0)
    assert (stats.commands, stats.late, stats.misses_per_10000, stats.guilty) == (101, 0, 0.0, {})


def test_the_guilty_leg_is_the_one_furthest_beyond_its_own_median_not_the_longest():
    ledgers = [entry(50, 1, 1, 1) for _ in range(98)]
    ledgers += [entry(51, 1, 9, 1, late=True), entry(50, 30, 9, 1, late=True)]
    stats = summarise(ledgers)
    assert stats.guilty == {"latent -> command": 1, "goal -> latent": 1}
    assert stats.misses_per_10000 == 200.0


def test_a_stage_that_the_graph_lacks_is_left_out():
    lacking = [entry(5, 5, k, 1, late=k > 3)._replace(goal_ns=0) for k in (1, 1, 1, 8)]
    stats = summarise(lacking)
    assert np.isnan(stats.legs[0].p50_ms) and np.isnan(stats.legs[1].p50_ms)
    assert stats.legs[2].max_ms == 8.0 and stats.guilty == {"latent -> command": 1}


def test_a_goal_that_was_there_before_the_observation_was_not_waited_for():
    early = entry(-1500, 1510, 1, 2)
    assert durations_ms([early]).tolist() == [[0.0, 10.0, 1.0, 2.0]]


def test_simulated_time_may_begin_at_zero():
    assert durations_ms([entry(1, 2, 3, 4, start_ns=0)]).tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_without_commands_there_are_no_figures():
    stats = summarise([])
    assert stats.legs == () and stats.commands == 0
    assert stats.misses_per_10000 != pytest.approx(0.0)
