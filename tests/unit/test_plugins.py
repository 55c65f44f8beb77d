"""Robots of other packages, by entry points. Run: pytest tests/unit/test_plugins.py"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hjepa.cli.app import main
from hjepa.errors import PluginError, RobotError
from hjepa.plugins import found
from robots.catalog import DRIVERS, driver_class, drivers, entry, make_driver, make_tracker, moves_machine
from robots.spec import load_spec

ROBOT = """\
name: onelink
control_rate_hz: 100
joints: [{name: a1, kind: revolute, parent_xyz: [0, 0, 0], axis: [0, 0, 1], q: [-1, 1], dq: 2, ddq: 10, tau: 20}]
tool: {xyz: [0.25, 0, 0]}
q_home: [0]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # noqa: ANN201
    """A function that makes an importable package with entry points, as if pip had installed it."""

    def made(package: str, entries: dict[str, dict[str, str]], **files: str) -> None:
        folder = tmp_path / package
        folder.mkdir()
        for name, text in {"__init__.py": "", **files}.items():
            (folder / name.replace("_yaml", ".yaml").replace("_py", ".py")).write_text(text, encoding="utf-8")
        about = tmp_path / f"{package}-1.2.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", encoding="utf-8")
        points = "".join(
            f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in entries.items()
        )
        (about / "entry_points.txt").write_text(points, encoding="utf-8")

    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_package_brings_a_robot_and_a_driver_and_neither_is_imported_before_it_is_asked_for(install) -> None:  # noqa: ANN001
    groups = {"hjepa.robots": {"onelink": "mine.drv:Mine"}, "hjepa.descriptions": {"onelink": "mine"}}
    install(
        "mine", groups, onelink_yaml=ROBOT, drv_py="from robots.ideal import IdealRobot\nclass Mine(IdealRobot): ..."
    )
    known = drivers()["onelink"]
    assert (known.robot, known.package) == ("onelink", "mine 1.2")
    assert load_spec("onelink").q_max_rad == 1.0
    assert "mine" not in sys.modules
    assert make_driver("onelink").spec.name == "onelink"
    assert moves_machine("onelink")  # what does not say otherwise is taken for a machine


@pytest.mark.parametrize(
    "words", [["robots", "jog", "mine", "--joint", "a1", "--by", "0.1"], ["robots", "check", "mine"], ["calibrate"]]
)
def test_a_package_s_machine_is_not_moved_without_a_person(
    install, words: list[str], capsys: pytest.CaptureFixture[str]  # noqa: ANN001
) -> None:  # fmt: skip
    groups = {"hjepa.robots": {"mine": "mine.drv:Mine"}, "hjepa.descriptions": {"onelink": "mine"}}
    install(
        "mine", groups, onelink_yaml=ROBOT, drv_py="from robots.ideal import IdealRobot\nclass Mine(IdealRobot): ..."
    )
    with pytest.raises(SystemExit) as ended:
        main([*words, "--driver", "mine"] if words == ["calibrate"] else words)
    assert ended.value.code == 2
    assert "person" in capsys.readouterr().err


def test_built_in_names_win_and_the_clash_is_told(install, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ANN001
    install("thief", {"hjepa.robots": {"fake": "thief:Fake"}})
    assert entry("fake") == DRIVERS["fake"]
    with pytest.raises(SystemExit):
        main(["robots", "list"])
    assert (
        "driver 'fake' of package thief 1.2: the name is hjepa's own; allowed: another name" in capsys.readouterr().out
    )


def test_two_packages_with_one_name_are_named_both(install) -> None:  # noqa: ANN001
    install("one", {"hjepa.robots": {"same": "one:A"}})
    install("two", {"hjepa.robots": {"same": "two:B"}})
    assert "same" not in drivers()
    with pytest.raises(PluginError, match="'same' is brought by one 1.2 and two 1.2; allowed: one of them"):
        entry("same")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import no_such_sdk", "ModuleNotFoundError: No module named 'no_such_sdk'"),
        ("raise ValueError('first\\nsecond')", "ValueError: first second"),
        ("def f(:", "SyntaxError"),
        ("", "AttributeError: module 'sad.drv' has no attribute 'Sad'"),
        ("class Sad:\n    def observe(self): ...", "lacks connect, send, hold, close; allowed: a class as"),
        ("Sad = 3", "lacks connect"),
    ],
)
def test_a_broken_package_is_named_with_its_error_in_one_line_and_breaks_no_list(
    install, code: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]  # noqa: ANN001
) -> None:  # fmt: skip
    monkeypatch.setenv("COLUMNS", "400")
    install("sad", {"hjepa.robots": {"sad": "sad.drv:Sad"}}, drv_py=code)
    with pytest.raises(PluginError) as told:
        driver_class("sad")
    assert says in str(told.value)
    assert str(told.value).startswith("driver 'sad' of package sad 1.2 (sad.drv:Sad)")
    assert "\n" not in str(told.value)
    with pytest.raises(SystemExit) as ended:
        main(["robots", "list"])
    out = capsys.readouterr().out
    assert not ended.value.code
    assert says in next(line for line in out.splitlines() if line.split()[0] == "sad")
    assert "courtbot" in out


def test_a_driver_without_a_robot_asks_for_one(install) -> None:  # noqa: ANN001
    install("bare", {"hjepa.robots": {"bare": "robots.ideal:IdealRobot"}})
    with pytest.raises(RobotError, match="'bare' of package bare 1.2 comes without a robot; allowed: --robot"):
        make_driver("bare")
    assert make_driver("bare", "panda").spec.name == "panda"


def test_a_description_that_is_not_there_names_its_package(install) -> None:  # noqa: ANN001
    install("empty", {"hjepa.descriptions": {"none": "empty", "lost": "no_such_package"}})
    with pytest.raises(RobotError, match="robot 'none' of package empty 1.2 has no file"):
        load_spec("none")
    with pytest.raises(PluginError, match="robot 'lost' of package empty 1.2 .* cannot be found: no such package"):
        load_spec("lost")


def test_a_description_has_the_name_by_which_it_is_found(install) -> None:  # noqa: ANN001
    install("other", {"hjepa.descriptions": {"twolink": "other"}}, twolink_yaml=ROBOT)
    with pytest.raises(RobotError, match="name: is 'onelink'; allowed: 'twolink'"):
        load_spec("twolink")


def test_trackers_come_by_name(install) -> None:  # noqa: ANN001
    assert hasattr(make_tracker("udp"), "window")
    install("eyes", {"hjepa.trackers": {"eyes": "eyes:Eyes"}}, **{"__init___py": ""})
    with pytest.raises(RobotError, match="unknown tracker 'eyed': did you mean 'eyes'"):
        make_tracker("eyed")


def test_names_of_ours_are_found_without_looking_at_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    def looked(**_: object) -> None:
        raise AssertionError("packages were looked at")

    monkeypatch.setattr("hjepa.plugins.entry_points", looked)
    assert make_driver("fake").spec.name == "courtbot"


def test_no_group_means_no_plugins() -> None:
    assert not found("hjepa.no_such_group").plugins
