"""pytest tests/integration/test_cli_config.py: hjepa config, and --set-file in the verbs that take a configuration."""

import json
from pathlib import Path

import pytest
import typer

from hjepa.cli.app import app, main
from hjepa.config import load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    told = capsys.readouterr()
    assert stopped.value.code == code, told.err
    return told.err if code else told.out


@pytest.mark.parametrize("words", [[], ["badminton"], ["show"], ["show", "badminton"]])
def test_a_word_that_is_no_command_is_a_configuration_to_print(
    words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "mine.yaml").write_text(said(capsys, "config", *words, "--set", "low.iterations=4"))
    assert load(folder / "mine.yaml") == load("badminton", ["low.iterations=4"])


def test_a_misspelt_command_is_recognised(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "config", "explian", code=2)
    assert told.startswith("hjepa: no configuration 'explian': ")
    assert "or the command `hjepa config explain`?" in told


def test_explain_shows_files_of_differences_and_other_tasks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tuned.yaml").write_text("# from a search\nlow:\n  iterations: 5\n")
    for name in ("badminton", "reach"):
        told = said(capsys, "config", "explain", name, "low", "--set-file", "tuned.yaml")
        (line,) = [line for line in told.splitlines() if line.startswith("  iterations: ")]
        assert line.split() == ["iterations:", "5", "#", "tuned.yaml:3"]
    assert "unknown key" in said(capsys, "config", "explain", "reach", "--set", "use.planner=few", code=2)


def test_check_tells_the_mistakes_of_all_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.yaml").write_text("low: {iteratons: 5}\nhigh: {candidates: 0}\n")
    (folder / "b.yaml").write_text("run: {clock: lockstep}\n")
    (folder / "c.yaml").write_text("")
    (folder / "d.yaml").write_text("robot: {name: courtbto}\n")
    lines = said(capsys, "config", "check", "a.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml", code=2).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["a.yaml:1", "a.yaml:2", "c.yaml:1", "d.yaml:1", "e.yaml"]
    assert "robot.name: " in lines[3] and "did you mean 'courtbot'" in lines[3]
    assert said(capsys, "config", "check", "b.yaml") == "b.yaml: right\n"


def test_a_misspelt_task_is_told_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "a.yaml").write_text("task: {name: raech}\nlow: {chunks: 2}\n")
    (line,) = said(capsys, "config", "check", "a.yaml", code=2).splitlines()
    assert line.startswith("hjepa: a.yaml:1: task.name: must be 'badminton', got \"raech\"; did you mean 'reach'?")


def test_schema_is_printed_or_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = said(capsys, "config", "schema", "--task", "reach")
    assert said(capsys, "config", "schema", "--task", "reach", "--out", "made/s.json") == "written: made/s.json\n"
    assert json.loads((folder / "made" / "s.json").read_text()) == json.loads(printed)
    assert "did you mean 'reach'" in said(capsys, "config", "schema", "--task", "raech", code=2)


def test_list_and_diff(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "config", "list")
    assert "badminton               The robot returns" in told
    assert "\nuse.planner: sets low\n" in told
    (folder / "mine.yaml").write_text("use: {run: realtime}\n")
    assert said(capsys, "config", "diff", "badminton", "mine.yaml").split() == ["run.clock", '"lockstep"', '"realtime"']


@pytest.mark.parametrize("words", ["demo", "eval", "collect", "train", "match", "launch", "deploy build", "bench loop"])
def test_every_verb_with_a_configuration_takes_a_file_of_differences(
    words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = typer.main.get_command(app)
    for word in words.split():
        verb = verb.commands[word]  # type: ignore[attr-defined]
    assert any("--set-file" in option.opts for option in verb.params)
    (folder / "tuned.yaml").write_text("low: {iteratons: 5}\n")
    own = {"eval": ["badminton"], "train": ["rally"]}.get(words, [])
    told = said(capsys, *words.split(), *own, "--set-file", "tuned.yaml", code=2)
    assert told.startswith("hjepa: tuned.yaml:1: low.iteratons: unknown key; did you mean 'iterations'?")
    assert [path.name for path in folder.iterdir()] == ["tuned.yaml"]
