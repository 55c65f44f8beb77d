"""pytest tests/unit/test_config.py"""

import dataclasses
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pydantic import ValidationError

from hjepa import config as c
from hjepa import explaining
from hjepa.cli import options
from hjepa.config_low import LowSection
from hjepa.errors import ConfigError
from hjepa.tasks.badminton.feeds import RandomFeedConfig


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        c.load(path, overrides)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", [name for name in c.names() if name != "reach"])
def test_shipped_configurations_load(name: str) -> None:
    assert isinstance(c.load(name), c.Config)


def test_another_tasks_configuration_is_read_by_its_own_schema() -> None:
    other = options.other_task("reach", ["low.iterations=4"], {})
    assert other is not None
    assert other.config.low.iterations == 4
    with pytest.raises(ConfigError, match="low.iteration: unknown key; did you mean 'iterations'"):
        options.other_task("reach", ["low.iteration=4"], {})


def test_badminton_is_shipped_and_is_the_default_configuration() -> None:
    assert "badminton" in c.names()
    assert c.load("badminton") == c.Config()


def test_unknown_key_names_file_line_and_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, "low:\n  iterations: 2\n  replan_perid_ms: 40\n")
    (line,) = problems(path)
    assert line.startswith(f"{path}:3: low.replan_perid_ms: unknown key; did you mean 'replan_period_ms'?")
    assert "candidates" in line  # what is allowed


def test_unknown_section_is_refused(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, "\nlwo:\n  candidates: 1\n"))
    assert ":2: lwo: unknown key; did you mean 'low'?" in line


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ("[[600,400]]", r"must be spans \[from, to\] of ms, in order and apart, got \[\[600, 400\]\]"),
        ("[[100,300],[200,400]]", "in order and apart"),
        ("[[300,400],[100,200]]", "in order and apart"),
        ("[[-10,400]]", "must be greater than or equal to 0, got -10"),
        ("[400,600]", "must be a valid array"),
    ],
)
def test_a_hidden_span_that_is_none_is_refused_in_a_line(spans: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"^--set world\.hidden_ms=.*: world\.hidden_ms.*{said}.*") as caught:
        c.load("badminton", [f"world.hidden_ms={spans}"])
    assert "\n" not in str(caught.value) or "[400,600]" in spans  # two numbers that are no spans: a line each


def test_hidden_spans_reach_the_world_in_seconds() -> None:
    factories = pytest.importorskip("hjepa.factories")
    hidden = c.load("badminton", ["world.hidden_ms=[[400,600],[700,710]]"])
    assert factories.world_settings(hidden).hidden == ((0.4, 0.6), (0.7, 0.71))


def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "low:\n  candidates: -1\n  planner: cme\nworld:\n  dropout: lots\ntask: {sede: 1}\n")
    found = problems(path, "high.candidates=none")
    assert [line.split(": ")[0] for line in found] == [
        *(f"{path}:{number}" for number in (2, 3, 5, 6)),
        "--set high.candidates=none",
    ]
    text = "\n".join(found)
    assert "must be greater than or equal to 2, got -1" in text
    assert "'gradient', 'cem', 'icem' or 'mppi'" in text
    assert 'valid number, got "lots"' in text


def test_key_given_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "low:\n  candidates: 1\n  candidates: 2\n")
    assert problems(path) == [f"{path}:3: low.candidates: key given twice (first at {path}:2)"]


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, "low:\n  candidates: [1\nhigh: 2\n"))
    assert ":3: not YAML" in line


def test_a_list_instead_of_sections_is_refused(tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, "- low\n"))
    assert "holds no sections; expected sections, such as use, task" in line


def test_a_file_of_differences_may_say_that_nothing_differs(tmp_path: Path) -> None:
    base = write(tmp_path, "low:\n  iterations: 4\n")
    (tmp_path / "best.yaml").write_text("# the default was not beaten\n{}\n", encoding="utf-8")
    assert c.load(base, files=[tmp_path / "best.yaml"]) == c.load(base)


def test_an_empty_section_means_defaults_and_an_empty_file_nothing(tmp_path: Path) -> None:
    assert c.load(write(tmp_path, "# nothing\nlow:\n")) == c.Config()
    for text in ("", "# nothing\n", "---\n", "{}\n"):
        (line,) = problems(write(tmp_path, text))
        assert ":1: holds nothing; expected sections, such as use, task" in line


def test_override_wins_over_the_file_and_reaches_nested_keys(tmp_path: Path) -> None:
    path = write(tmp_path, "low:\n  candidates: 7\n")
    config = c.load(path, ["low.candidates=9", "low.weights.goal=1e-3", "task.random.launch_depth_m=[1, 2]"])
    assert config.low.candidates == 9
    assert config.low.weights.goal == 0.001
    assert config.task.random.launch_depth_m == (1.0, 2.0)


@pytest.mark.parametrize("text", ["low.candidates", "=3", "low..x=1"])
def test_malformed_override_says_the_form(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected section\.key=value"):
        c.load("badminton", [text])


def test_unknown_override_names_the_nearest_key() -> None:
    with pytest.raises(ConfigError, match=r"--set low\.candidate=3: low\.candidate: unknown key; .* 'candidates'"):
        c.load("badminton", ["low.candidate=3"])
    with pytest.raises(ConfigError, match=r"--set lwo\.candidates=3: lwo: unknown key; did you mean 'low'"):
        c.load("badminton", ["lwo.candidates=3"])


def test_a_number_as_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="valid integer"):
        c.load("badminton", ["low.candidates='9'"])


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="no configuration 'badmington': did you mean 'badminton'"):
        c.load("badmington")
    with pytest.raises(ConfigError, match="give an existing .yaml file"):
        c.load("nowhere/x.yaml")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        c.load("badminton").low.candidates = 3  # type: ignore[misc]


def test_dump_and_explain_load_back_to_an_equal_configuration(tmp_path: Path) -> None:
    changes = ["world.tracker_delay_s=0.06", "world.hidden_ms=[[400, 600]]", "task.random.flight_s=[1, 1.5]"]
    config = c.load("badminton", changes)
    assert c.load(write(tmp_path, c.dump(config))) == config
    assert c.load(write(tmp_path, explaining.commented(config))) == config


def test_defaults_are_those_of_the_classes_they_configure() -> None:
    """Robots and tasks may not import the configuration, so defaults stand there too; they must not drift apart."""
    court = pytest.importorskip("robots.sim.world")
    ours, theirs = c.WorldSection().model_dump(), dataclasses.asdict(court.WorldConfig())
    assert ours.pop("hidden_ms") == theirs["hidden"] == ()
    assert ours == {name: theirs[name] for name in ours}
    theirs = dataclasses.asdict(RandomFeedConfig())
    assert c.RandomFeed().model_dump() == {name: theirs[name] for name in theirs if name != "seed"}


def test_defaults_of_the_planners_are_those_of_their_classes() -> None:
    from hjepa.planning.cem import CrossEntropy
    from hjepa.planning.hierarchy import HighPlanConfig
    from hjepa.planning.objectives import LowWeights
    from hjepa.planning.searching import LowPlanConfig

    low, high = LowSection(), c.HighSection()
    assert low.weights.model_dump() == dataclasses.asdict(LowWeights())
    theirs = dataclasses.asdict(LowPlanConfig())
    same = (
        "reach_iterations",
        "first_starts",
        "first_iterations",
        "starts",
        "iterations",
        "accept_margin",
        "alarm_energy",
    )
    assert {name: getattr(low, name) for name in same} == {name: theirs[name] for name in same}
    in_s = {"latency_s": low.latency_ms, "freeze_s": low.freeze_ms, "valid_s": low.valid_ms}
    assert {name: 1000 * theirs[name] for name in in_s} == pytest.approx(in_s)
    assert 1000 * theirs["goal_latency_s"] == pytest.approx(high.latency_ms)
    search = CrossEntropy()
    assert (low.candidates, low.elites) == (search.candidates, search.elites)
    theirs = dataclasses.asdict(HighPlanConfig())
    ours = high.model_dump(exclude={"latency_ms", "weights", "shots", "feint"}) | high.weights.model_dump()
    assert ours == {name: theirs[name] for name in ours}


def test_every_key_has_a_meaning() -> None:
    def walk(section: type[c.Section]) -> list[str]:
        missing = []
        for name, field in section.model_fields.items():
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, c.Section):
                missing += walk(inner)
            elif not field.description:
                missing.append(f"{section.__name__}.{name}")
        return missing

    assert walk(c.Config) == []


def test_resources_resolve_in_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed hjepa has no pyproject.toml beside it and holds configs/ under _share (setup.py puts it there)."""
    site = tmp_path / "site-packages"
    (site / "hjepa" / "_share").mkdir(parents=True)
    shutil.copytree(c.resource("configs"), site / "hjepa" / "_share" / "configs")
    monkeypatch.setattr(c, "__file__", str(site / "hjepa" / "config.py"))
    monkeypatch.chdir(tmp_path)
    assert c.resource("configs").is_relative_to(site)
    assert c.load("badminton") == c.Config()


def test_the_wheel_holds_all_it_needs_and_works_from_an_empty_folder(tmp_path: Path) -> None:
    root = Path(c.__file__).parent.parent
    copy = tmp_path / "src"
    copy.mkdir()
    for name in ("hjepa", "robots", "configs", "launch"):
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(root / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path / "dist"), str(copy)]
    subprocess.run(command, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert sorted(p.name for p in site.iterdir() if p.suffix != ".dist-info") == ["hjepa", "robots"]
    kinds = [("configs", "hjepa/_share/configs"), ("robots/descriptions",) * 2, ("hjepa/weights",) * 2]
    kinds += [("hjepa/tasks/badminton/data",) * 2, ("launch", "hjepa/_share/launch")]
    for source, shipped in kinds:
        for path in (root / source).rglob("*.*"):
            assert (site / shipped / path.relative_to(root / source)).is_file(), f"{path} is not in the wheel"
    code = (
        "import hjepa.config, robots.spec; assert hjepa.config.__file__.startswith(sys.argv[1]); "
        "print(robots.spec.load_spec(hjepa.config.load('badminton').robot.name).name)"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    said = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", str(site)],
        cwd=empty, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == "courtbot"


def test_the_shots_that_may_be_named_are_the_tasks() -> None:
    from hjepa.tasks.badminton.strokes import TYPES

    assert c.get_args(c.Shot) == TYPES
