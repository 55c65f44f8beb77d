"""What a machine is like as a robot's controller: one finding after another, each with what to do about it."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "note", "warn", "fail"]


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    state: State  # note: worth knowing; warn: a controller will be worse for it; fail: it will not work
    seen: str
    remedy: str = ""  # one line; empty when ok
