"""The robot's own strokes: played now, or read from a file of an earlier run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hjepa.evaluation.results import NAN, Played, Recording, StrokeResult
from hjepa.insight.real import draw
from hjepa.tasks.badminton.strokes import TYPES, load_strokes
from hjepa.types import Array
from hjepa.viewer.pictures.shots import Shots


def robot_shots(played: Sequence[Played]) -> Shots:
    """Hits by the type they turned out to be; the point of contact is known where the stroke was recorded."""
    hits = [p for p in played if p.result.hit]
    kinds = [TYPES.index(p.result.realised_type) if p.result.realised_type in TYPES else -1 for p in hits]
    landed = [p.result.landing_xy_m for p in hits]
    contact = [_contact(p.result, p.recording) for p in hits]
    return Shots("robot", np.array(kinds, dtype=np.int64), *(np.array(x).reshape(-1, 2) for x in (contact, landed)))


def _contact(result: StrokeResult, recording: Recording | None) -> Array:
    if recording is None:
        return np.full(2, NAN)
    return np.array([np.interp(result.contact_s, recording.times_s, recording.shuttle_m[:, axis]) for axis in (0, 1)])


def real_shots(count: int, seed: int) -> Shots:
    """Real players' strokes of validation matches, turned so that the hitter stands at x < 0."""
    real, table = draw("val", count, seed), load_strokes()
    return Shots("real players", real.kind, -table.hit_m[real.rows, :2], -table.floor_m[real.rows])
