"""The shipped levels follow a moving target through bus, guard and simulator."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hjepa.cli.app import app
from hjepa.errors import ConfigError

pytest.importorskip("pybullet", reason="pybullet has a wheel for x86-64 and Python 3.11 only")


@pytest.mark.sim
@pytest.mark.parametrize("robot", ["panda", "iiwa"])
def test_the_tool_stays_near_a_moving_target(robot: str, tmp_path: Path) -> None:
    out = tmp_path / "f.json"
    words = ["eval", "reach", "--robot", robot, "--seconds", "10", "--seed", "1", "--json", str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    figures = json.loads(out.read_text())
    assert figures["median_m"] < 0.05
    assert figures["speed_use"] <= 1.0
    still = CliRunner().invoke(app, [*words, "--agent", "still"])
    assert still.exit_code == 0, still.output
    assert json.loads(out.read_text())["median_m"] > 0.08


def test_options_of_another_task_are_refused() -> None:
    done = CliRunner().invoke(app, ["eval", "reach", "--episodes", "3"])
    assert isinstance(done.exception, ConfigError)
    assert "task 'reach' has no such option" in str(done.exception)
    done = CliRunner().invoke(app, ["eval", "badminton", "--seconds", "3"])
    assert isinstance(done.exception, ConfigError)
