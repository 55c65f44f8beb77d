"""Pictures of what the levels learned and decided: one file for each family, drawing only. This file imports little."""

from __future__ import annotations

from collections.abc import Sequence

from hjepa.errors import DataError, nearest

KINDS = ("latent", "shots", "landing", "probes", "energy", "ledger")
FORMATS = ("png", "svg")


def check_formats(formats: Sequence[str]) -> None:
    """DataError unless every format is known and there is one."""
    for kind in formats or ("",):
        if kind not in FORMATS:
            raise DataError(f"--format '{kind}': unknown; {nearest(kind, FORMATS)}")
