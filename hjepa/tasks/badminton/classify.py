"""The shot-type classifier: names a stroke by its flight, for a player's stroke and for the robot's alike.

A small perceptron over quantities of one stroke that can be measured on either side of the net. It is trained on the
train matches (`python -m hjepa.tasks.badminton.classify`), frozen in data/shot_type.npz, and used to say whether the
type that was commanded is the type that was played. The hit height is not among its inputs: the data do not hold it
and reconstruct.py drew it by type, so reading it would be cheating (docs/feeds.md gives the accuracy with it, too).
Canonical frame: the hitter at x > 0, the shuttle flies to x < 0. Legend: N strokes, F features, H hidden units.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.errors import DataError
from hjepa.tasks.badminton import flight
from hjepa.tasks.badminton.court import net_height_at
from hjepa.tasks.badminton.strokes import TYPES, StrokeTable, load_strokes
from hjepa.types import Array

FEATURES = (
    "hit_depth_m",  # from the net
    "hit_abs_y_m",
    "speed_m_s",
    "elevation_rad",
    "heading_abs_rad",  # away from straight across the net
    "net_clearance_m",
    "rise_m",  # apex over the hit point
    "floor_depth_m",
    "floor_abs_y_m",
    "floor_s",
    "incoming_speed_m_s",  # just before the hit; 0 on a service
    "incoming_distance_m",  # from the opponent's hit, along the floor; 0 on a service
    "incoming_s",  # since the opponent's hit; 0 on a service
    "has_incoming",
)
HIDDEN = 64
EPOCHS = 40
BATCH = 256
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-4
NET_MISSED_M = 1.524  # minus this is the clearance of a flight that never reaches the net: under it, on the floor
BALANCE = 0.5  # class weights are frequency to the power of minus this: between accuracy (0) and macro-average (1)


class Incoming(NamedTuple):
    """The flight that a stroke answers; nan where there is none (a service)."""

    speed_m_s: Array  # (N,) just before the hit
    distance_m: Array  # (N,) floor distance from the opponent's hit to this one
    time_s: Array  # (N,) between the two hits


class Classifier(NamedTuple):
    """Weights of a perceptron with two hidden layers (tanh) over standardised features."""

    mean: Array  # (F,)
    scale: Array  # (F,)
    w1: Array  # (F, H)
    b1: Array
    w2: Array  # (H, H)
    b2: Array
    w3: Array  # (H, 10)
    b3: Array


class Score(NamedTuple):
    """How well types are told apart on some strokes."""

    strokes: int
    accuracy: float
    recall: Array  # (10,) by true type; nan if it does not occur
    confusion: NDArray[np.int64]  # (10, 10) true type by named type

    @property
    def macro(self) -> float:
        """Mean recall over the types that occur."""
        return float(np.nanmean(self.recall))


def stroke_features(x0_m: Array, v0_m_s: Array, answered: Incoming) -> Array:
    """Features (N, F) of strokes launched at x0 (N, 3) with v0 (N, 3) in the canonical frame."""
    path = flight.land(x0_m, v0_m_s, max_s=8.0)
    speed = np.linalg.norm(v0_m_s, axis=-1)
    some = np.isfinite(answered.speed_m_s)
    columns = [
        x0_m[:, 0],
        np.abs(x0_m[:, 1]),
        speed,
        np.arcsin(np.clip(v0_m_s[:, 2] / np.maximum(speed, 1e-9), -1.0, 1.0)),
        np.abs(np.arctan2(v0_m_s[:, 1], -v0_m_s[:, 0])),
        np.nan_to_num(path.net_height_m - net_height_at(np.nan_to_num(path.net_y_m)), nan=-NET_MISSED_M),
        path.apex_m - x0_m[:, 2],
        -path.xy_m[:, 0],
        np.abs(path.xy_m[:, 1]),
        path.time_s,
        *(np.where(some, column, 0.0) for column in answered),
        some.astype(np.float64),
    ]
    return np.stack(columns, axis=-1)


def canonical(vector: Array) -> Array:
    """Turn points or velocities (..., 3) of a hitter at x < 0 (the robot) by 180 degrees about z."""
    return vector * np.array([-1.0, -1.0, 1.0])


def incoming(x0_m: Array, v0_m_s: Array, time_s: Array) -> Incoming:
    """What a hitter answers who meets, after time_s (N,), a shuttle launched at x0 with v0 (N, 3)."""
    x, v = flight.fly_to(x0_m, v0_m_s, time_s)
    return Incoming(np.linalg.norm(v, axis=-1), np.linalg.norm((x - x0_m)[:, :2], axis=-1), np.array(time_s))


def incoming_of(table: StrokeTable) -> Incoming:
    """What each stroke of the table (N rows) answered; nan on services and after rows without a flight."""
    before = table.previous
    known = (before >= 0) & table.valid[before]
    rows = before[known]
    out = Incoming(*(np.full(len(before), np.nan) for _ in Incoming._fields))
    for whole, part in zip(out, incoming(table.hit_m[rows], table.launch_m_s[rows], table.time_s[rows]), strict=True):
        whole[known] = part
    return out


def robot_features(
    launch_x_m: Array, launch_v_m_s: Array, contact_s: Array, contact_m: Array, u_out_m_s: Array
) -> Array:
    """Features (N, F) of the robot's strokes in world coordinates (robot at x < 0).

    The fed shuttle left at launch_x, launch_v (N, 3) at time 0; the racket met it after contact_s (N,) at contact
    (N, 3), and it left with u_out (N, 3).
    """
    return stroke_features(canonical(contact_m), canonical(u_out_m_s), incoming(launch_x_m, launch_v_m_s, contact_s))


def table_features(table: StrokeTable, rows: NDArray[np.int64]) -> Array:
    """Features (len(rows), F) of real strokes."""
    answered = Incoming(*(column[rows] for column in incoming_of(table)))
    return stroke_features(table.hit_m[rows], table.launch_m_s[rows], answered)


def usable_rows(table: StrokeTable, split: str) -> NDArray[np.int64]:
    """Strokes of a split with a flight and, unless they are services, an incoming flight."""
    rows = table.split_rows(split)
    before = table.previous[rows]
    return rows[table.valid[rows] & ((before < 0) | table.valid[before])]


def classify(features: Array, classifier: Classifier | None = None) -> Array:
    """Probabilities (N, 10) over TYPES of strokes with features (N, F); the shipped classifier by default."""
    model = load_classifier() if classifier is None else classifier
    if features.ndim != 2 or features.shape[1] != len(model.mean):
        raise DataError(f"features have shape {features.shape}; allowed: (N, {len(model.mean)})")
    return _softmax(_forward(model, features)[-1])


def evaluate(classifier: Classifier, features: Array, types: NDArray[np.int8]) -> Score:
    """Score on strokes with known types (N,)."""
    named = classify(features, classifier).argmax(axis=-1)
    confusion = np.zeros((len(TYPES), len(TYPES)), dtype=np.int64)
    np.add.at(confusion, (types.astype(np.int64), named), 1)
    total = confusion.sum(axis=1)
    recall = np.divide(np.diag(confusion), total, out=np.full(len(TYPES), np.nan), where=total > 0)
    return Score(len(types), float((named == types).mean()), recall, confusion)


def train(features: Array, types: NDArray[np.int8], seed: int = 0, epochs: int = EPOCHS) -> Classifier:
    """Fit by Adam (Kingma & Ba 2015) with decoupled weight decay and a falling rate, on weighted cross entropy."""
    rng = np.random.default_rng(seed)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    share = np.bincount(types, minlength=len(TYPES)) / len(types)
    weight = np.where(share > 0, np.maximum(share, 1e-9) ** -BALANCE, 0.0)
    weight /= weight @ share
    sizes = (features.shape[1], HIDDEN, HIDDEN, len(TYPES))
    values: list[Array] = []
    for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True):
        values += [rng.normal(size=(fan_in, fan_out)) / np.sqrt(fan_in), np.zeros(fan_out)]
    first, second = [np.zeros_like(p) for p in values], [np.zeros_like(p) for p in values]
    steps = epochs * (len(types) // BATCH)
    for step in range(steps):
        pick = rng.integers(len(types), size=min(BATCH, len(types)))
        model = Classifier(mean, scale, *values)
        gradient = _gradient(model, features[pick], types[pick], weight[types[pick]])
        rate = LEARNING_RATE * (1.0 - step / steps)
        for k, g in enumerate(gradient):
            first[k] += 0.1 * (g - first[k])
            second[k] += 0.001 * (g * g - second[k])
            m, s = first[k] / (1 - 0.9 ** (step + 1)), second[k] / (1 - 0.999 ** (step + 1))
            values[k] = values[k] - rate * (m / (np.sqrt(s) + 1e-8) + WEIGHT_DECAY * values[k])
    return Classifier(mean, scale, *values)


def save_classifier(classifier: Classifier, path: Path) -> None:
    """Write the weights as float32, with the feature and type names they belong to."""
    arrays = {name: value.astype(np.float32) for name, value in classifier._asdict().items()}
    np.savez_compressed(path, features=np.array(FEATURES), types=np.array(TYPES), **arrays)


@cache
def load_classifier() -> Classifier:
    """The frozen classifier that ships with hjepa."""
    shipped = resources.files(__package__).joinpath("data/shot_type.npz")
    with shipped.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
        if tuple(file["features"]) != FEATURES or tuple(file["types"]) != TYPES:
            raise DataError("data/shot_type.npz was trained for other features; run the training of this module")
        return Classifier(*(file[name].astype(np.float64) for name in Classifier._fields))


def _forward(c: Classifier, features: Array) -> tuple[Array, Array, Array, Array]:
    x = np.clip((features - c.mean) / c.scale, -5.0, 5.0)
    h1 = np.tanh(x @ c.w1 + c.b1)
    h2 = np.tanh(h1 @ c.w2 + c.b2)
    return x, h1, h2, h2 @ c.w3 + c.b3


def _softmax(logits: Array) -> Array:
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p: Array = e / e.sum(axis=-1, keepdims=True)
    return p


def _gradient(c: Classifier, features: Array, types: NDArray[np.int8], weight: Array) -> list[Array]:
    """Gradient of the weighted cross entropy with respect to w1, b1, w2, b2, w3, b3."""
    x, h1, h2, logits = _forward(c, features)
    d3 = _softmax(logits)
    d3[np.arange(len(types)), types] -= 1.0
    d3 *= weight[:, None] / len(types)
    d2 = (d3 @ c.w3.T) * (1 - h2**2)
    d1 = (d2 @ c.w2.T) * (1 - h1**2)
    return [x.T @ d1, d1.sum(axis=0), h1.T @ d2, d2.sum(axis=0), h2.T @ d3, d3.sum(axis=0)]


def main(arguments: list[str] | None = None) -> None:
    """Train on the train matches, print the score on validation and test, write the weights."""
    parser = argparse.ArgumentParser(prog="python -m hjepa.tasks.badminton.classify", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "data" / "shot_type.npz")
    parsed = parser.parse_args(arguments)
    table = load_strokes()
    rows = {split: usable_rows(table, split) for split in ("train", "val", "test")}
    features = {split: table_features(table, row) for split, row in rows.items()}
    classifier = train(features["train"], table.type[rows["train"]])
    for split in ("train", "val", "test"):
        score = evaluate(classifier, features[split], table.type[rows[split]])
        sys.stdout.write(f"{split}: {score.strokes} strokes, accuracy {score.accuracy:.4f}, macro {score.macro:.4f}\n")
    save_classifier(classifier, parsed.out)


if __name__ == "__main__":
    main()
