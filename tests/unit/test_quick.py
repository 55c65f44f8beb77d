"""pytest tests/unit/test_quick.py: --quick is on every long verb, shrinks last, and keeps what it makes apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from hjepa.cli import quick
from hjepa.cli.app import app
from hjepa.errors import ConfigError

LONG = [
    *("demo", "eval", "collect", "train", "match", "forecast", "calibrate", "doctor", "launch"),
    *("bench forecast", "bench planner", "bench loop", "bench sim", "bench train", "deploy build", "deploy run"),
]


@pytest.mark.parametrize("verb", LONG)
def test_a_long_verb_has_a_quick_form(verb: str) -> None:
    command: Any = typer.main.get_command(app)
    for name in verb.split():
        command = command.commands[name]
    assert "--quick" in {option for p in command.params for option in p.opts}


def test_what_a_quick_run_changes_comes_after_what_was_set() -> None:
    assert quick.sets("badminton", ["task.strokes=50"], quick.PLAYED) == ["task.strokes=50", "task.strokes=2"]
    assert quick.sets("reach", None, quick.PLAYED) == ["task.seconds=4"]


def test_a_task_without_a_quick_form_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("task: {name: mine}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="--quick: task 'mine' has no such option"):
        quick.sets(str(tmp_path / "mine.yaml"), None, quick.PLAYED)


def test_quick_data_and_weights_lie_apart() -> None:
    assert quick.apart(Path("runs/train")) == Path("runs/train-quick")
    assert quick.data(Path("data/swings"), "badminton", None) == Path("data/swings-quick")
    assert quick.data(None, "reach", None) == Path("data/quick-reach")


@pytest.mark.parametrize(
    ("folder", "small", "command"),
    [
        ("data/swings", False, "hjepa collect --out data/swings"),
        ("data/swings-quick", True, "hjepa collect --quick --out data/swings"),
        ("data/quick-badminton", True, "hjepa collect --quick"),
    ],
)
def test_missing_swings_are_asked_for_as_they_would_be_collected(folder: str, small: bool, command: str) -> None:
    assert quick.filling(Path(folder), small) == command
