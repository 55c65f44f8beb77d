"""Units that people write behind a number where a configuration wants the number alone."""

from __future__ import annotations

import re
from typing import Any

# what one of each is in the first of its family
FAMILIES = (
    {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0, "minutes": 60.0},
    {"m": 1.0, "mm": 1e-3, "cm": 1e-2, "km": 1e3},
    {"m/s": 1.0, "km/h": 1 / 3.6, "cm/s": 1e-2, "mm/s": 1e-3},
    {"rad": 1.0, "deg": 0.017453292519943295, "°": 0.017453292519943295, "mrad": 1e-3},
    {"rad/s": 1.0, "deg/s": 0.017453292519943295},
    {"Hz": 1.0, "kHz": 1e3},
    {"1": 1.0, "%": 1e-2},
)
SHARE = "1"  # the unit of a share, which is read out as one
_WRITTEN = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s.][^\s]*)\s*$")


def spoken(unit: str) -> str:
    """A unit as it is read out."""
    return "share" if unit == SHARE else unit


def unit_hint(value: Any, unit: str) -> str:
    """What to write instead of a text such as '0.03 s' where a number of `unit` is wanted; empty: no such text."""
    found = _WRITTEN.match(value) if isinstance(value, str) else None
    family = next((one for one in FAMILIES if unit in one), None)
    if found is None or family is None:
        return ""
    as_unit = "as a share" if unit == SHARE else f"in {unit}"
    number, written = float(found.group(1)), found.group(2)
    if written == unit:
        return f"write {number:.12g}"
    if written in family:
        return f"write {number * family[written] / family[unit]:.12g} ({value.strip()} {as_unit})"
    return f"write the number alone, {as_unit}, not '{written}'"
