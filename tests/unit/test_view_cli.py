"""hjepa view refuses what it cannot show, in one line, before anything is started."""

import socket
from pathlib import Path

import pytest

from hjepa import build
from hjepa.bus.logfile import About, LogWriter
from hjepa.bus.messages import pack
from hjepa.cli import main, view
from hjepa.config import Config
from tests.unit.test_view_bus import seen


@pytest.fixture
def recording(tmp_path: Path) -> str:
    config = Config().model_dump_json()
    about = About(nodes={"driver": {"factory": "hjepa.factories:make_world", "args": {"config": config}}})
    with LogWriter(tmp_path / "run.mcap", about) as log:
        log.write("observation", pack("observation", seen(0), session=1, sequence=0, stamp_ns=0), 0)
    return str(tmp_path / "run.mcap")


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(["view", *words, "--no-open", "--seconds", "1"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nosuch.mcap"], "nosuch.mcap: No such file"),
        (["badmington"], "allowed: badminton"),
        (["reach"], "has no court to show"),
        (["badminton", "--set", "agent.name=classical"], "agent 'classical' has no levels to show; allowed: hjepa"),
        (["--bus", "nosuch"], "no running graph 'nosuch'"),
        (["--bus", "nosuch", "--set", "task.seed=1"], "--set: a running graph keeps its configuration"),
    ],
)
def test_what_cannot_be_shown_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refusal(words, capsys)


def test_a_recording_takes_no_set_and_a_taken_port_is_named(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a recording keeps its configuration" in refusal([recording, "--set", "task.seed=1"], capsys)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"--port {port}: taken" in refusal([recording, "--port", str(port)], capsys)


def test_agents_of_two_levels_can_be_watched() -> None:
    assert view.LEVELLED == build.HIERARCHICAL
