"""pytest tests/integration/test_benches.py: `hjepa bench loop | sim | train` as a user runs them, short."""

import json
from pathlib import Path

import pytest

from hjepa.cli import main


def run(*words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *words])
    assert ended.value.code == 0


def test_the_loop_accounts_for_every_decision(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "loop.json"
    run("loop", "--minutes", "0.03", "--hog", "1", "--set", "task.strokes=1", "--json", str(out))
    found = json.loads(out.read_text())
    assert found["due"] > 30 and found["missed"] <= found["due"] and found["hogs"] == 1
    assert found["latency_ms"]["n"] > 20 and found["latency_ms"]["p50"] > 0
    assert set(found["cpu"]) == {"driver", "high", "low", "conductor"}
    assert "of 10,000" in capfd.readouterr().out


def test_the_court_is_slower_than_bare_steps(tmp_path: Path) -> None:
    out = tmp_path / "sim.json"
    run("sim", "--strokes", "2", "--json", str(out))
    ways = json.loads(out.read_text())["ways"]
    assert ways["bare steps"]["over_bare"] == 1.0 and ways["court"]["strokes_per_s"] > 0
    assert ways["court, racket every ms"]["simulated_s"] == ways["bare steps"]["simulated_s"]


def test_both_levels_are_trained_beside_bare_products(tmp_path: Path) -> None:
    out = tmp_path / "train.json"
    run("train", "--seconds", "0.1", "--json", str(out))
    cpu = json.loads(out.read_text())["devices"]["cpu"]
    assert set(cpu) == {"high", "low"}
    assert all(level["gflop"] > 0.1 and level["of_bare"] > 0 for level in cpu.values())
