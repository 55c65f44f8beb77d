"""Weights that change while a level plays."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from hjepa.errors import ConfigError, nearest


def check_weights(values: Mapping[str, float], known: Collection[str]) -> None:
    """ConfigError names the first that is unknown, or no weight."""
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"no weight '{name}'; {nearest(name, known)}")
        if not (math.isfinite(value) and value >= 0.0):
            raise ConfigError(f"weight {name} is {value}; allowed: finite numbers from 0 on")
