"""A jog stays within limits and ends where it was asked to; the verbs refuse in words."""

import numpy as np
import pytest
from typer.testing import CliRunner

from hjepa.cli import moving
from hjepa.cli.app import app
from hjepa.errors import ConfigError, HjepaError
from robots.spec import load_spec, slowed

SPEC = slowed(load_spec("courtbot"), 0.1)


@pytest.mark.parametrize("joint", range(SPEC.joints))
@pytest.mark.parametrize("by", [0.002, -0.05, 0.3])
def test_a_jog_is_within_limits_and_ends_at_rest_where_it_was_asked_to(joint: int, by: float) -> None:
    command = moving.move_of(SPEC, SPEC.q_home_rad, joint, by, 5)
    others = np.delete(command.q_rad - SPEC.q_home_rad, joint, axis=1)
    assert not others.any()
    assert command.q_rad[-1, joint] - SPEC.q_home_rad[joint] == pytest.approx(by)
    assert command.dq_rad_s[-1, joint] == pytest.approx(0.0, abs=1e-9)
    assert np.abs(command.dq_rad_s[:, joint]).max() <= SPEC.dq_max_rad_s[joint]
    steps = np.diff(command.dq_rad_s[:, joint]) / command.dt_s
    assert np.abs(steps).max() <= SPEC.ddq_max_rad_s2[joint]


def test_jog_moves_an_ideal_robot_and_says_how_far() -> None:
    done = CliRunner().invoke(app, ["robots", "jog", "ideal", "--joint", "a1", "--by", "0.01"])
    assert done.exit_code == 0, done.output
    assert "a1 moved by +0.0100 (asked +0.0100), and holds" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ideal", "--joint", "elbow"], "--joint elbow"),
        (["ur", "--joint", "a1"], "--yes-a-person-is-present"),
        (["fake", "--joint", "a1"], "waits for ticks"),
    ],
)
def test_a_jog_that_makes_no_sense_is_refused(words: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["robots", "jog", *words, "--by", "0.1"])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)


def test_without_a_running_graph_there_is_nothing_to_stop(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for verb in ("stop", "release", "arm"):
        done = CliRunner().invoke(app, ["robots", verb])
        assert isinstance(done.exception, HjepaError)
        assert "running graphs: none" in str(done.exception)
