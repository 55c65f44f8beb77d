"""Figures with their intervals, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from hjepa.evaluation.metrics import Interval

Figure = Interval | Mapping[str, float]
"""An interval, or as JSON has it."""


def shown(figure: Figure, digits: int, scale: float = 1.0, *, unit: str = "", signed: bool = False) -> str:
    """A figure with its 95 % interval: 1.23 (1.20 to 1.26)."""
    value = figure if isinstance(figure, Mapping) else asdict(figure)
    form = f"{'+' if signed else ''}.{digits}f"
    x, lo, hi = (format(scale * value[name], form) for name in ("value", "lo", "hi"))
    return f"{x}{unit} ({lo} to {hi})"


def percent(share: Figure) -> str:
    """A share: 12.3 % (10.1 to 14.8)."""
    return shown(share, 1, 100.0, unit=" %")
