"""hjepa demo --surprise: what was done to the shuttle, and what the robot did about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from hjepa.cli import play
from hjepa.evaluation.results import Played
from hjepa.types import GRADES, NS
from robots.sim.disturbance import UNITS, Disturbance

STROKES = 6
AT_S = (0.45, 0.65)  # of the flight: late enough to be believed in, early enough to be answered
JUMP_M = (0.5, 1.0)


def tricks(count: int, seed: int) -> list[Disturbance | None]:
    """Every other stroke, beginning with the second, the shuttle is somewhere else all of a sudden."""
    rng = np.random.default_rng([seed, 7])
    out: list[Disturbance | None] = []
    for k in range(count):
        at_s, size_m, draw = rng.uniform(*AT_S), rng.uniform(*JUMP_M), int(rng.integers(2**31))
        odd = Disturbance("teleport", round(at_s, 2), round(size_m, 2) / UNITS["teleport"].amount, draw)
        out.append(odd if k % 2 else None)
    return out


def show(console: Console, done: Sequence[Disturbance | None], kept: Sequence[Played]) -> None:
    """A line for each stroke."""
    rows = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("#", "what happened", "noticed", "what the robot did", "in"):
        rows.add_column(name, no_wrap=True)
    for k, (trick, played) in enumerate(zip(done, kept, strict=False)):
        rows.add_row(str(k + 1), *line(trick, played), play.TICK if played.result.returned else play.CROSS)
    console.print()
    console.print(rows)


def line(trick: Disturbance | None, played: Played) -> tuple[str, str, str]:
    """What happened, when it was noticed, and what the robot did."""
    alarms = played.recording.alarms if played.recording else ()
    raised = [alarm for alarm in alarms if alarm.grade]
    grades = list(dict.fromkeys(alarm.grade for alarm in raised))
    did = ", then ".join(GRADES[grade] for grade in grades) or "played on"
    if trick is None:
        return "-", "false alarm" if raised else "-", did
    what = f"{trick.kind} {trick.amount:g} {UNITS[trick.kind].unit} at {trick.at_s:.2f} s"
    after = [alarm.sensed.stamp_ns / NS - trick.at_s for alarm in raised]
    if not after:
        return what, "no", did
    return what, "false alarm" if after[0] < 0 else f"{1e3 * after[0]:.0f} ms after", did
