"""Files of arrays are whole or not there, and say what to do when they are damaged."""

from pathlib import Path

import numpy as np
import pytest

from hjepa.arrays import load_arrays, save_arrays
from hjepa.errors import DataError


@pytest.mark.parametrize("compressed", [False, True])
def test_what_is_written_is_read(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "made" / "a.npz"
    save_arrays(path, {"x": np.arange(3.0), "n": 7}, compressed=compressed)
    kept = load_arrays(path, ("x", "n"), "file", "none")
    assert np.array_equal(kept["x"], [0.0, 1.0, 2.0])
    assert int(kept["n"]) == 7
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, {"x": np.ones(2)})

    def full(where: Path, **arrays: object) -> None:
        where.write_bytes(b"PK half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space"):
        save_arrays(path, {"x": np.zeros(2)})
    assert load_arrays(path, ("x",), "file", "none")["x"].sum() == 2.0


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_file_is_named_with_its_remedy(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, {"x": np.ones(100)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"shard '.*a\.npz' is damaged \(.*\): delete it"):
        load_arrays(path, ("x",), "shard", "delete it")


def test_a_missing_column_is_damage_and_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    save_arrays(path, {"x": np.ones(1), "bad": np.array([{"a": 1}], dtype=object)})
    for name in ("y", "bad"):
        with pytest.raises(DataError, match="is damaged"):
            load_arrays(path, ("x", name), "file", "delete it")
