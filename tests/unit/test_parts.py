"""Parts of long measurements: pytest tests/unit/test_parts.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hjepa.config import load
from hjepa.errors import DataError
from hjepa.insight.sense.parts import Parts, key_of


def never() -> dict[str, np.ndarray]:
    raise AssertionError("made again")


def test_parts_are_made_once_for_a_key_and_lie_side_by_side(tmp_path: Path) -> None:
    one, other = (Parts(tmp_path / "parts", key) for key in ("one", "other"))
    one.arrays("a", ["x"], lambda: {"x": np.arange(3.0)})
    one.value("a", lambda: [1.5, None])
    other.arrays("a", ["x"], lambda: {"x": np.zeros(2)})
    assert one.arrays("a", ["x"], never)["x"].tolist() == [0.0, 1.0, 2.0]
    assert other.arrays("a", ["x"], never)["x"].tolist() == [0.0, 0.0]
    assert one.value("a", never) == [1.5, None]
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["a_one.json", "a_one.npz", "a_other.npz"]


def test_rows_go_on_behind_the_last_whole_one(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "key")
    rows = parts.rows("strokes")
    for row in ({"n": 1}, {"n": 2}):
        rows.keep(row)
    with (tmp_path / "strokes_key.jsonl").open("a") as file:
        file.write('{"n": 3')  # killed while it wrote
    again = parts.rows("strokes")
    assert again.rows == [{"n": 1}, {"n": 2}]
    again.keep({"n": 4})
    assert parts.rows("strokes").rows == [{"n": 1}, {"n": 2}, {"n": 4}]
    assert Parts(tmp_path, "other").rows("strokes").rows == []


def test_a_damaged_part_is_refused_with_its_remedy(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "key")
    for name in ("a_key.json", "a_key.npz", "a_key.jsonl"):
        (tmp_path / name).write_text("{no part\n")
    for read in (lambda: parts.value("a", never), lambda: parts.arrays("a", ["x"], never), lambda: parts.rows("a")):
        with pytest.raises(DataError, match="a_key.*damaged.*delete it and run again"):
            read()


def test_a_key_is_of_configuration_weights_and_what_else_it_is_about(tmp_path: Path) -> None:
    config = load("badminton", [f"agent.weights={tmp_path}"])
    keys = [key_of(config), key_of(config, 2), key_of(load("badminton", [f"agent.weights={tmp_path}", "task.seed=1"]))]
    for name in ("low", "high"):
        (tmp_path / f"{name}.safetensors").write_bytes(b"trained")
        keys.append(key_of(config))
    assert len(set(keys)) == 5
    assert key_of(config) == keys[-1]
    assert key_of(config, levels=()) == keys[0]
