"""pytest tests/unit/test_loop_decisions.py: what `hjepa bench loop` makes of what nodes said in a stroke."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from hjepa.benches import host
from hjepa.benches.decisions import Due, Said, due, joined, tick_late_ms
from hjepa.bus import wire
from hjepa.bus.messages import Message
from hjepa.bus.topics import Handled, Ledger

MS = 1_000_000
TICK, PERIOD, LATENCY = 10 * MS, 20 * MS, 30 * MS
START = 10**12  # of the monotonic clock, when tick 0 was published


def message(kind: str, sequence: int, sent_ns: int, answers: int = -1, **value: Any) -> Message:
    return Message(wire.Header(kind, 1, sequence, sent_ns, answers=answers), SimpleNamespace(**value))


def handled(sequence: int, reads: list[int], scored: tuple[int, ...] = ()) -> Handled:
    reads_ns = np.array(reads, dtype=np.int64)
    return Handled("observation", 1, sequence, 1, reads_ns, np.zeros(0, np.uint8), np.array(scored, dtype=np.int64))


class Stroke:
    """Ticks 0 to 20, a goal in force from tick 4 on; a plan of 8 ms at every second one, its command 1 ms later."""

    def __init__(self, last: int = 20) -> None:
        self.observations = [
            message("observation" if k < last else "last_observation", k, START + k * TICK, stamp_ns=k * TICK)
            for k in range(last + 1)
        ]
        self.goals = [message("goal", 0, START + 25 * MS, answers=2, start_ns=4 * TICK)]
        self.plans: dict[int, float] = dict.fromkeys(range(4, last, 2), 8.0)
        self.late: set[int] = set()
        self.unheard: set[int] = set()
        self.high = [handled(2, [START + 20 * MS, START + 22 * MS, START + 24 * MS, START + 25 * MS])]

    def due(self) -> Due:
        plans, commands, ledgers, low = [], [], [], []
        for k, (n, ms) in enumerate(self.plans.items()):
            seen = START + n * TICK
            read = seen + MS, seen + MS, seen + MS + round(ms * MS), seen + 9 * MS, seen + 9 * MS
            plans.append(message("plan", k, seen, answers=n, plan_ms=ms))
            commands.append(message("command", k, read[-1], answers=n))
            low.append(handled(n, [*read], (4,)))
            if n not in self.unheard:
                ledgers.append(Ledger(k, seen, 0, read[3], read[4], seen + 11 * MS, seen + 12 * MS, n in self.late))
        messages = {"observation": self.observations, "goal": self.goals, "plan": plans, "command": commands}
        episode: Any = SimpleNamespace(messages={topic: tuple(said) for topic, said in messages.items()})
        return due(Said(episode, ledgers, low, self.high), 2, LATENCY, PERIOD)


def test_every_second_observation_with_a_goal_is_due_up_to_the_last_whose_command_could_begin() -> None:
    found = Stroke().due()
    assert len(found.plan_ms) == len(range(4, 18, 2))  # tick 18's command would begin with tick 21
    assert not found.missed.any()
    np.testing.assert_allclose(found.latency_ms, 11.0)
    legs = found.heard_ms + found.before_ms + found.plan_ms + found.sent_ms + found.accepted_ms
    np.testing.assert_allclose(legs, found.latency_ms)


def test_an_observation_that_was_never_planned_for_stays_in_the_denominator() -> None:
    stroke = Stroke()
    del stroke.plans[6], stroke.plans[10]
    found = stroke.due()
    assert len(found.plan_ms) == 7 and found.superseded.sum() == found.missed.sum() == 2


def test_each_reason_is_counted_apart_and_a_decision_missed_once() -> None:
    stroke = Stroke()
    stroke.plans[6], stroke.late, stroke.unheard = 20.5, {6, 8}, {12}
    found = stroke.due()
    assert (found.overlong.sum(), found.late.sum(), found.lost.sum(), found.missed.sum()) == (1, 2, 1, 3)
    assert np.isnan(found.latency_ms[found.lost]).all()


def test_decisions_before_a_late_goal_are_the_high_levels_misses() -> None:
    stroke = Stroke()
    stroke.goals = [stroke.goals[0]._replace(header=wire.Header("goal", 1, 0, START + 65 * MS, answers=2))]
    del stroke.plans[4], stroke.plans[6]
    found = stroke.due()
    assert found.goal_late.sum() == 2 and found.superseded.sum() == 0


def test_a_decision_is_alone_unless_the_high_level_decides_or_asks_meanwhile() -> None:
    stroke = Stroke()
    at = START + 4 * TICK
    stroke.high.append(handled(4, [at + MS, at + 2 * MS, at + 3 * MS]))  # a look
    assert stroke.due().alone.all()
    stroke.high.append(handled(6, [at + 20 * MS, at + 21 * MS, at + 22 * MS, at + 23 * MS]))  # a question
    assert list(np.flatnonzero(~stroke.due().alone)) == [1]


def test_a_stroke_without_a_goal_has_nothing_due() -> None:
    stroke = Stroke()
    stroke.goals = []
    assert len(stroke.due().plan_ms) == 0
    assert len(joined([]).missed) == 0 and len(joined([stroke.due(), Stroke().due()]).missed) == 7


def test_lateness_of_ticks_counts_from_the_first() -> None:
    stroke = Stroke(3)
    stroke.observations[2] = message("observation", 2, START + 2 * TICK + 3 * MS, stamp_ns=2 * TICK)
    np.testing.assert_allclose(tick_late_ms(stroke.observations, TICK), [0.0, 3.0, 0.0])


def test_figures_say_where_they_come_from_and_hold_no_nan() -> None:
    text = host.as_json("loop", {"plan_ms": host.spread(np.array([np.nan])), "n": np.int64(3)}, 0.5)
    assert '"p50": null' in text and '"commit"' in text and '"torch"' in text and '"before": 0.5' in text
