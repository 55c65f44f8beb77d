"""Possible and impossible pairs, their scores, and what is told of them. Run: pytest tests/unit/test_violations.py"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from hjepa.config import Config, load  # noqa: E402
from hjepa.errors import ConfigError  # noqa: E402
from hjepa.insight.sense import violations_pairs as vp  # noqa: E402
from hjepa.insight.sense import violations_scores as vs  # noqa: E402
from hjepa.insight.sense.violations_filter import drift, surprises  # noqa: E402
from hjepa.insight.sense.violations_parts import Block, Watched, WatchedParts  # noqa: E402
from hjepa.insight.sense.violations_played import met  # noqa: E402
from hjepa.insight.sense.violations_told import found  # noqa: E402
from hjepa.insight.sense.violations_watch import Traces, fly, through, watch  # noqa: E402
from hjepa.types import NS, Observation, Sensed  # noqa: E402
from robots.sim.referee import Referee  # noqa: E402
from tests import tiny  # noqa: E402

FEED = vp.feed_of("val")
RNG = np.random.default_rng(0)


def traces(scores: np.ndarray, p: float = 1.0, instants: int = 5) -> Traces:
    """Episodes in which the score is there all the time."""
    score = np.repeat(np.asarray(scores, dtype=np.float32)[:, None], instants, axis=1)
    return Traces(score, np.full_like(score, p), np.zeros(len(score)))


# scores


def test_auc_is_the_share_of_all_pairs_that_are_ranked_rightly_and_ties_count_half() -> None:
    made = vs.auc(vs.Scores(np.array([1.0, 3.0]), np.array([1.0, 2.0])), RNG)
    assert made.value == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    assert made.lo <= made.value <= made.hi


def test_pairwise_accuracy_compares_twins_alone() -> None:
    assert vs.pairwise(vs.Scores(np.array([1.0, 5.0, 7.0]), np.array([2.0, 4.0, 7.0])), RNG).value == pytest.approx(0.5)


def test_the_interval_of_an_auc_narrows_with_the_pairs() -> None:
    few, many = (vs.auc(vs.Scores(RNG.normal(0.7, 1.0, n), RNG.normal(0.0, 1.0, n)), RNG) for n in (20, 200))
    assert many.hi - many.lo < 0.6 * (few.hi - few.lo)


def test_the_threshold_is_the_highest_that_finds_enough() -> None:
    scores = np.arange(100.0)
    threshold = vs.recalling(scores)
    assert (scores >= threshold).mean() >= 0.95 > (scores >= threshold + 1).mean()


def test_an_alarm_that_lasts_is_one_alarm() -> None:
    alarm = np.array([[1, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
    assert vs.onsets(alarm).tolist() == [2, 1, 0]


def test_a_score_before_the_instant_does_not_count() -> None:
    score = np.array([[9.0, 9.0, 1.0, 2.0, np.nan]], dtype=np.float32)
    made = Traces(score, 1 / score, np.array([0.04]))
    assert made.highest().tolist() == [2.0]
    assert made.rarest().tolist() == [0.5]
    assert made.minutes.tolist() == pytest.approx([4 * 0.02 / 60])


# pairs


@pytest.mark.parametrize("kind", vp.KINDS)
def test_twins_share_launch_instant_and_noise_and_every_second_one_carries_a_harmless_change(kind: str) -> None:
    pairs = vp.draw(FEED, kind, 3.0, 10, 4)
    assert len(pairs) == 10
    for i, (impossible, possible) in enumerate(pairs):
        assert impossible.disturbance is not None and impossible.disturbance.kind == kind
        assert (possible.harmless != "") == bool(i % 2)
        assert impossible.seed == possible.seed
        if not possible.harmless:
            assert possible == impossible._replace(disturbance=None)
    assert {p.possible.harmless for p in pairs} == {"", *vp.HARMLESS}


def test_pairs_are_the_same_for_the_same_seed_alone() -> None:
    def launches(seed: int) -> list[float]:
        return [float(pair.possible.launch.v_m_s[0]) for pair in vp.draw(FEED, "frozen", 1.0, 5, seed)]

    assert launches(1) == launches(1) != launches(2)


@pytest.mark.parametrize("kind", [kind for kind in vp.KINDS if kind not in vp.PLAYED])
def test_it_happens_neither_at_once_nor_at_the_end(kind: str) -> None:
    for pair in vp.draw(FEED, kind, 3.0, 12, 0):
        for case in pair:
            assert case.at_s >= vp.EARLIEST_S - 0.01
            assert case.at_s <= case.until_s - vp.LATEST_S + 0.01


@pytest.mark.parametrize("below_m", [0.02, 0.2])
def test_a_lowered_launch_meets_the_net_as_far_below_the_tape_as_asked(below_m: float) -> None:
    made = [vp.lowered(FEED.launch(i), below_m) for i in range(5)]
    assert all(made)
    for launch, net_s, _ in filter(None, made):
        r = Referee((*launch.x_m.tolist(), *launch.v_m_s.tolist()), 4.5759, 0.55, (0.14, 0.11), 0.15)
        r.fly(2.0)
        assert r.netted and r.events[0].time_s == pytest.approx(net_s, abs=2e-3)
        assert 1.524 - below_m - 2e-3 < r.events[0].x_m[2] < 1.55 - below_m + 2e-3


@pytest.mark.parametrize("what", vp.HARMLESS)
def test_harmless_changes_stay_within_what_they_say(what: str) -> None:
    other = vp.random_feed(1, 3).launch(0)
    plain = vp.normal(FEED, 1, 0)[0]
    for seed in range(20):
        made = vp.changed(plain, what, other, np.random.default_rng(seed))
        assert made.harmless == what
        assert made.sensors.tracker_noise_m <= 0.03 and made.sensors.tracker_delay_s <= 0.06
        assert made.sensors.dropout <= 0.06
        assert made.disturbance is None or made.disturbance.amount <= 0.2


def test_strokes_that_nobody_played_are_refused() -> None:
    with pytest.raises(ConfigError, match="task.feed is 'random'"):
        vp.feed_of("random")


# watching


def test_an_impossible_flight_looks_like_its_twin_until_it_happens() -> None:
    impossible, possible = vp.draw(FEED, "teleport", 10.0, 1, 0)[0]
    a, b = fly(impossible, tiny.SPEC), fly(possible, tiny.SPEC)
    first = next(
        i for i, (x, y) in enumerate(zip(a, b, strict=True)) if not np.array_equal(x.tracker_xyz_m, y.tracker_xyz_m)
    )
    late_s = possible.sensors.tracker_delay_s
    assert possible.at_s <= a[first].stamp_ns / NS <= possible.at_s + late_s + 0.04


class Clock:
    """A watcher that is surprised by the time since `reset`."""

    def reset(self) -> None:
        self.seen: list[int | None] = []

    def see(self, observation: Observation, until_ns: int | None = None) -> Sensed:
        self.seen.append(until_ns)
        return Sensed(observation.stamp_ns, observation.stamp_ns / NS, 0.5, "flight")


def test_every_episode_is_watched_from_its_launch_to_its_end() -> None:
    cases = vp.normal(FEED, 3, 0)
    counted: list[int] = []
    made = watch(cases, through(Clock()), tiny.SPEC, lambda: counted.append(1))
    ends = [case.until_s for case in cases]
    assert len(counted) == 3
    assert made.highest() == pytest.approx(np.array(ends) + 0.06, abs=0.021)
    assert (np.nanmin(made.score, axis=1) == 0.0).all()


def test_the_filters_innovations_are_white_in_normal_play() -> None:
    made = watch(vp.normal(FEED, 12, 0), surprises, tiny.SPEC)
    late = made.score[:, 15:][np.isfinite(made.score[:, 15:])]
    assert 3.0 < np.median(late) < 9.0  # the largest of 7 that overlap, each about chi-square with 3 degrees of freedom
    assert made.highest().max() < 40.0


@pytest.mark.parametrize(("kind", "size"), [("teleport", 3.0), ("gravity", 1.0), ("mass", 10.0), ("reversal", 1.0)])
def test_a_filter_that_knows_the_flight_equation_tells_the_twins_apart(kind: str, size: float) -> None:
    pairs = [pair for pair in vp.draw(FEED, kind, size, 8, 0) if not pair.possible.harmless]
    impossible, possible = (watch(side, surprises, tiny.SPEC).highest() for side in zip(*pairs, strict=True))
    assert (impossible > possible).all()


def test_innovations_that_lean_one_way_add_up() -> None:
    white = np.random.default_rng(0).normal(size=(40, 3))
    leaning = white + np.where(np.arange(40) >= 20, 1.0, 0.0)[:, None]
    assert drift(leaning) > 3 * drift(white)
    assert drift(np.vstack([leaning, white])) == pytest.approx(drift(white))  # what is long past is forgotten


def test_the_disc_is_met_by_what_passes_through_it() -> None:
    r = Referee((0.0, 0.0, 1.0, 0.0, 0.0, 0.0), 4.5759, 0.55, (0.14, 0.11), 0.15)
    out = r.outcome(0.0)
    assert not met(out, (0.14, 0.11))  # nan: it never came near
    assert met(out._replace(offset_m=np.array([0.1, 0.0])), (0.14, 0.11))
    assert not met(out._replace(offset_m=np.array([0.0, 0.12])), (0.14, 0.11))


# parts


def test_a_part_is_read_again_unless_something_changed(tmp_path: Path) -> None:
    weights = tiny.write_weights(tmp_path / "weights")
    config = load("badminton", [f"agent.weights={weights}"])
    calls: list[int] = []

    def make() -> Traces:
        calls.append(1)
        return traces(np.array([1.0, 2.0]))

    first = WatchedParts(tmp_path, config, 2).traces("x", make)
    again = WatchedParts(tmp_path, config, 2).traces("x", make)
    assert len(calls) == 1
    np.testing.assert_array_equal(first.score, again.score)
    for changed in (
        WatchedParts(tmp_path, config, 3),
        WatchedParts(tmp_path, load("badminton", [f"agent.weights={weights}", "task.seed=1"]), 2),
    ):
        changed.traces("x", make)
    (weights / "low.safetensors").write_bytes(b"other")
    WatchedParts(tmp_path, config, 2).traces("x", make)
    assert len(calls) == 4


# telling


def told(impossible: float, possible: float, p: float = 1.0) -> dict[str, dict]:  # type: ignore[type-arg]
    harmless = ("", "noise", "", "delay")
    blocks = [
        Block(kind, size, harmless, traces(np.full(4, impossible), 1e-4), traces(np.full(4, possible), p))
        for kind in vp.KINDS
        for size in ((1.0,) if kind in vp.PLAYED else vp.SIZES)
    ]
    made = found(Watched(blocks, traces(np.full(6, possible), p)), Config(), "test")
    assert [picture.name for picture in made.pictures] == ["violations", "violations_examples"]
    assert all(len(row) == len(table.columns) for table in made.tables for row in table.rows)
    json.dumps(made.figures, allow_nan=False)
    return made.figures


def test_a_perfect_score_is_told_as_one() -> None:
    figures = told(5.0, 1.0)
    assert [figures["mean_auc"][key]["value"] for key in ("all", "beyond")] == pytest.approx([1.0, 1.0])
    assert figures["kinds"]["mass"]["10"]["pairwise"]["value"] == 1.0
    alarm = figures["alarms"]["95 % found at 3, 10 x"]
    assert alarm["threshold"] == 5.0 and alarm["false_alarms"] == 0
    assert alarm["recall"]["net"]["1"]["value"] == 1.0
    assert alarm["episodes"]["noise"]["value"] == 0.0 and alarm["episodes"]["player"]["value"] is None


def test_a_score_that_tells_nothing_is_told_as_a_guess_with_its_false_alarms() -> None:
    figures = told(1.0, 1.0, p=1e-4)
    assert figures["mean_auc"]["all"]["value"] == pytest.approx(0.5)
    calm = [kind for kind in vp.KINDS if kind not in (*vp.PLAYED, "net")]
    for alarm in figures["alarms"].values():
        assert alarm["false_alarms"] == 6 + 2 * 3 * len(calm)  # normal strokes, and every possible one without a change
        assert alarm["minutes"] == pytest.approx(alarm["false_alarms"] * 5 * 0.02 / 60)


def test_pairs_whose_racket_met_nothing_are_left_out() -> None:
    score = np.array([1.0, np.nan, 3.0])
    blocks = [
        Block("racket", 1.0, ("",) * 3, traces(score), traces(np.zeros(3))),
        Block("mass", 3.0, ("",) * 3, traces(np.ones(3)), traces(np.zeros(3))),
    ]
    figures = found(Watched(blocks, traces(np.zeros(2))), Config(), "test").figures
    assert figures["kinds"]["racket"]["all"]["pairs"] == 2
