"""What became of every low-level decision that was due, from what the nodes of a graph said in one stroke.

An observation is due when the low level's period has come and a goal is in force. Nothing that was due is left out,
except at the end of a stroke: where the command would begin after the last observation, nobody follows it any more.
All times are of one host's monotonic clock. Legend: N due observations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.bus.graph import Episode
from hjepa.bus.messages import Message
from hjepa.bus.topics import Handled, Ledger
from hjepa.types import Array

Flags = NDArray[np.bool_]
LOOK_READS = 3  # readings of its clock when the high level only looks: no question, no goal
PLAN_READS = 5  # of the low level's: heard, plan begun, ended, latent chosen, command sent


class Said(NamedTuple):
    """All of a stroke."""

    episode: Episode
    ledgers: Sequence[Ledger]
    low: Sequence[Handled]  # journals
    high: Sequence[Handled]


class Due(NamedTuple):
    """Columns (N,): a row for each due observation. A decision may have missed for several reasons."""

    superseded: Flags  # never planned for: a newer observation had come
    goal_late: Flags  # never planned for: the goal was not there yet
    overlong: Flags  # the plan took longer than the period
    late: Flags  # the command was at the driver after its own start
    lost: Flags  # the command was sent and never accepted: expired, overtaken or refused
    searched: Flags  # the plan searched; the others go on as they were
    alone: Flags  # meanwhile the high level neither decided nor asked
    plan_ms: Array
    heard_ms: Array  # from the driver's publication to the low level's clock
    before_ms: Array  # from there to the beginning of the plan
    sent_ms: Array  # from the end of the plan to the command on its way
    accepted_ms: Array  # from there to the driver's acceptance
    latency_ms: Array  # publication to acceptance; nan where no command was accepted

    @property
    def missed(self) -> Flags:
        """Any of the five reasons."""
        out: Flags = self.superseded | self.goal_late | self.overlong | self.late | self.lost
        return out


def due(said: Said, period_ticks: int, latency_ns: int, period_ns: int) -> Due:
    """Every due observation of a stroke.

    latency_ns: from an observation to the start of its command; period_ns: of low-level decisions.
    """
    messages = said.episode.messages
    goals = [m for m in messages["goal"] if m.header.kind == "goal"]
    rows = _due(messages["observation"], goals, period_ticks, latency_ns)
    plans = {m.header.answers: m for m in messages["plan"]}
    commands = {m.header.answers: m for m in messages["command"] if m.header.kind == "command"}
    accounts = {ledger.command: ledger for ledger in said.ledgers}
    told = {entry.sequence: entry for entry in said.low if entry.source == "observation" and len(entry.reads_ns)}
    busy = _busy(said.high, {m.header.answers for m in goals})
    goal_sent_ns = min((m.header.stamp_ns for m in goals), default=0)
    out = []
    for m in rows:
        n, nan = m.header.sequence, float("nan")
        plan, command = plans.get(n), commands.get(n)
        account = None if command is None else accounts.get(command.header.sequence)
        entry = told.get(n)
        plan_ms = nan if plan is None else plan.value.plan_ms
        end_ns = m.header.stamp_ns + period_ns
        heard = before = sent = accepted = latency = nan
        if account is not None:
            end_ns = account.actuated_ns
            accepted = (end_ns - account.command_ns) / 1e6
            latency = (end_ns - account.observed_ns) / 1e6
        if account is not None and entry is not None and len(entry.reads_ns) >= PLAN_READS:
            reads = [int(r) for r in entry.reads_ns]
            heard, before = (reads[0] - account.observed_ns) / 1e6, (reads[1] - reads[0]) / 1e6
            sent = (account.command_ns - reads[2]) / 1e6
        waited = plan is None and m.header.stamp_ns < goal_sent_ns
        out.append(
            (
                plan is None and not waited,
                waited,
                bool(plan_ms > period_ns / 1e6),
                account is not None and account.late,
                command is not None and account is None,
                entry is not None and len(entry.scored) > 0,
                not any(a < end_ns and b > m.header.stamp_ns for a, b in busy),
                plan_ms, heard, before, sent, accepted, latency,
            )
        )  # fmt: skip
    return _columns(out)


def joined(parts: Sequence[Due]) -> Due:
    """Rows of many strokes."""
    return Due(*(np.concatenate(column) for column in zip(*parts, strict=True))) if parts else _columns([])


def tick_late_ms(observations: Sequence[Message], tick_ns: int) -> Array:
    """How much later than its tick each observation but the first was published (ms)."""
    stamps = np.array([m.header.stamp_ns for m in observations], dtype=np.int64)
    sequence = np.array([m.header.sequence for m in observations], dtype=np.int64)
    late: Array = (stamps - stamps[:1] - (sequence - sequence[:1]) * tick_ns)[1:] / 1e6
    return late


def _due(observations: Sequence[Message], goals: Sequence[Message], period: int, latency_ns: int) -> list[Message]:
    if not goals or not observations:
        return []
    begin_ns = min(m.value.start_ns for m in goals)
    end_ns = observations[-1].value.stamp_ns - latency_ns
    return [
        m
        for m in observations
        if m.header.kind == "observation" and m.header.sequence % period == 0 and begin_ns <= m.value.stamp_ns <= end_ns
    ]


def _busy(high: Sequence[Handled], decided: set[int]) -> list[tuple[int, int]]:
    """When the high level decided or asked, from its journal."""
    return [
        (int(entry.reads_ns[0]), int(entry.reads_ns[-1]))
        for entry in high
        if entry.source == "observation"
        and len(entry.reads_ns)
        and (len(entry.reads_ns) > LOOK_READS or entry.sequence in decided)
    ]


def _columns(rows: Sequence[tuple[float, ...]]) -> Due:
    flags = len(Due.__annotations__) - 6
    table = np.array(rows, dtype=np.float64).reshape(-1, len(Due.__annotations__))
    columns: list[NDArray[Any]] = [column.astype(bool) if k < flags else column for k, column in enumerate(table.T)]
    return Due(*columns)
