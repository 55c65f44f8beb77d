"""pytest tests/integration/test_cli_demo.py: what demo and eval show and write, with a played-back system."""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import hjepa
from hjepa.cli.app import main
from hjepa.config import Config, load
from hjepa.errors import DataError
from hjepa.evaluation.results import Played, Recording, StrokeResult
from robots.spec import load_spec

SPEC = load_spec("courtbot")


class PlayedBack:
    """A loaded system whose strokes were played before."""

    def __init__(self, config: Config) -> None:
        self.config, self.spec = config, SPEC
        self.two_levels = config.agent.name == "hjepa"

    def starts(self, judging: Callable[[int, int], None]) -> None:
        judging(self.config.task.strokes, self.config.task.strokes)


def over_the_bus(
    system: PlayedBack, *, processes: bool = False, gui: bool = False, log: Path | None = None
) -> Iterator[Played]:
    assert system.two_levels
    assert log is None
    BUS.append(processes)
    yield from strokes(system, record=True)


BUS: list[bool] = []  # how the bus was asked for


def strokes(system: PlayedBack, *, record: bool = False, gui: bool = False) -> Iterator[Played]:
    config = system.config
    times = np.arange(100) / 100
    shuttle = np.stack([5 - 8 * times, 0 * times, 2 - times], axis=-1)
    recording = Recording(times, np.repeat(SPEC.q_home_rad[None], 100, axis=0), shuttle)
    for index in range(config.task.strokes):
        result = StrokeResult(
            id=f"s{index}", match="m", feed_type="clear", commanded_type="drop", realised_type="drop", hit=index > 0,
            returned=index > 0, target_xy_m=(2.0, 0.0), landing_xy_m=(2.0, 0.3), contact_s=0.6, landing_s=0.9,
            plan_ms_low=(4.0,), plan_ms_high=(30.0,),
        )  # fmt: skip
        yield Played(result, recording if record else None)
    if config.task.seed == 13:
        raise DataError("feed row 14: this stroke cannot be flown")


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and a played-back hjepa.api."""
    api = ModuleType("hjepa.api")
    api.load = PlayedBack  # type: ignore[attr-defined]
    api.play = strokes  # type: ignore[attr-defined]
    api.play_bus = over_the_bus  # type: ignore[attr-defined]
    api.reference = lambda: SimpleNamespace(classifier_accuracy=0.8, humans_entropy=4.0)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hjepa.api", api)
    monkeypatch.setattr(hjepa, "api", api, raising=False)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_demo_shows_every_stroke_and_writes_five_files(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", "--strokes", "3", "--out", "runs/a") == 0
    said = capsys.readouterr().out
    assert said.count("clear") == said.count("drop") == 3
    assert "66.7 %" in said
    assert sorted(p.name for p in (system / "runs" / "a").iterdir()) == [
        "config.yaml", "demo.mp4", "landings.png", "strokes.csv", "summary.json",
    ]  # fmt: skip
    assert json.loads((system / "runs/a/summary.json").read_text())["episodes"] == 3
    assert len(list(csv.DictReader((system / "runs/a/strokes.csv").open()))) == 3
    assert [p.name for p in (system / "runs").iterdir()] == ["a"]  # nothing hidden left beside it


def test_the_configuration_beside_the_results_loads_back(system: Path) -> None:
    (system / "tuned.yaml").write_text("low: {iterations: 5, elites: 7}\n")
    words = ("--strokes", "2", "--no-video", "--out", "a", "--set-file", "tuned.yaml", "--set", "low.elites=9")
    assert run("demo", *words) == 0
    text = (system / "a" / "config.yaml").read_text()
    assert text.startswith(f"# hjepa {hjepa.__version__}: ")
    played = ["task.strokes=2", "low.iterations=5", "low.elites=9"]
    assert load(system / "a" / "config.yaml") == load("badminton", played)


def test_demo_writes_into_an_existing_folder_and_can_leave_out_the_film(system: Path) -> None:
    (system / "mine").mkdir()
    (system / "mine" / "note.txt").write_text("kept")
    assert run("demo", "--strokes", "1", "--out", "mine", "--no-video") == 0
    assert sorted(p.name for p in (system / "mine").iterdir()) == [
        "config.yaml", "landings.png", "note.txt", "strokes.csv", "summary.json",
    ]  # fmt: skip


def test_two_levels_are_shown_over_the_bus_and_others_are_not(system: Path) -> None:
    BUS.clear()
    for words in ((), ("--processes",), ("--agent", "oracle")):
        assert run("demo", "--strokes", "1", "--out", "a", "--no-video", *words) == 0
    assert BUS == [False, True]


def test_surprises_are_not_told_to_another_process(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", "--surprise", "--processes", "--out", "a") == 2
    assert "demo --surprise: plays in one process" in capsys.readouterr().err
    assert not (system / "a").exists()


def test_a_failure_on_the_way_writes_nothing(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("demo", "--strokes", "2", "--seed", "13") == 2
    assert capsys.readouterr().err == "hjepa: feed row 14: this stroke cannot be flown\n"
    assert run("eval", "badminton", "--seed", "13", "--json", "out.json") == 2
    assert list(system.iterdir()) == []


def test_eval_prints_figures_and_writes_the_json(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("eval", "badminton", "--episodes", "4", "--agent", "oracle", "--seed", "2", "--json", "made/out.json")
    assert run(*words, "--set", "low.candidates=5", "high.candidates=6") == 0
    said = capsys.readouterr().out
    assert "75.0 %" in said
    assert "the classifier itself: 80 %" in said
    got = json.loads((system / "made" / "out.json").read_text())
    assert got["hit_rate"]["value"] == 0.75
    assert got["landing_error_m"] == {"median": 0.3, "p90": 0.3}
    assert got["clock"] == "lockstep"
    assert got["placement_entropy"]["humans"] == 4.0
    assert got["config"]["low"]["candidates"] == 5
    assert Config.model_validate(got["config"]).agent.name == "oracle"


def test_eval_writes_a_report_with_the_figures_it_printed(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", "badminton", "--episodes", "2", "--report", "made/report.html") == 0
    said = capsys.readouterr().out
    page = (system / "made" / "report.html").read_text()
    assert "50.0 %" in said and "50.0 %" in page
    assert "written: made/report.html" in said
    assert page.count("data:video/mp4;base64,") == 1  # the two strokes were recorded and filmed
    assert page.count("data:image/svg+xml;base64,") == 2
    assert [p.name for p in (system / "made").iterdir()] == ["report.html"]


def test_without_a_report_nothing_is_recorded(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def play(config: PlayedBack, *, record: bool = False) -> Iterator[Played]:
        asked.append(record)
        yield from strokes(config)

    monkeypatch.setattr(hjepa.api, "play", play)
    assert run("eval", "badminton", "--episodes", "1") == 0
    assert asked == [False]
