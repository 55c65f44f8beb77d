"""The units and the container file that ship say what this hjepa understands; nothing of them is run here."""

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from hjepa.cli.app import app

ROOT = Path(__file__).parent.parent.parent
UNITS = sorted((ROOT / "launch").glob("*.service"))
CONTAINERFILE = (ROOT / "launch" / "Containerfile").read_text(encoding="utf-8")
KNOWN = {"ARG", "FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD"}


class Unit(configparser.RawConfigParser):
    """A unit's sections, with keys as they are written."""

    def optionxform(self, key: str) -> str:
        return key


def unit(path: Path) -> Unit:
    made = Unit(delimiters="=", comment_prefixes="#", strict=True)
    made.read_string(path.read_text(encoding="utf-8"))
    return made


def understood(words: list[str]) -> dict[str, object]:
    """What the command line makes of words after `hjepa`; fails where it refuses them."""
    verb, rest = typer.main.get_command(app), words
    while hasattr(verb, "commands"):
        verb, rest = verb.commands[rest[0]], rest[1:]
    return verb.make_context(verb.name, list(rest)).params


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_a_command_that_exists_and_is_not_restarted_after_a_mistake(path: Path) -> None:
    service = unit(path)["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/.venv/bin/hjepa") and understood(words)
    assert service["Restart"] == "on-failure" and service["RestartPreventExitStatus"] == "2"
    assert service["KillMode"] == "mixed", "nodes are stopped in order by their supervisor"


def test_the_controllers_unit_runs_a_bundle_with_the_rights_that_it_asks_for() -> None:
    service = unit(ROOT / "launch" / "hjepa-controller.service")["Service"]
    _, *words = shlex.split(service["ExecStart"])
    assert words[:2] == ["deploy", "run"] and understood(words)["realtime"]
    assert service["LimitMEMLOCK"] == "infinity" and int(service["LimitRTPRIO"]) >= 40 and service["CPUAffinity"]
    assert "XDG_RUNTIME_DIR=/run/" + service["RuntimeDirectory"] in service["Environment"].split()
    assert str(understood(words)["logs"]) == "/var/log/" + service["LogsDirectory"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_systemd_finds_no_fault_with_a_unit(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    text = re.sub(
        r"^ExecStart=\S+", f"ExecStart={sys.executable}", path.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    (tmp_path / path.name).write_text(text, encoding="utf-8")
    kind = "--user" if "default.target" in text else "--system"
    words = ["systemd-analyze", "verify", kind, "--man=no", str(tmp_path / path.name)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert path.name not in done.stderr, done.stderr


def instructions() -> list[tuple[str, str]]:
    """(name, the rest) of every instruction of the container file, continued lines joined."""
    lines = "\n".join(line for line in CONTAINERFILE.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    return [
        (name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines.splitlines() if line.strip())
    ]


def test_the_container_file_holds_instructions_that_exist() -> None:
    found = instructions()
    assert {name for name, _ in found} == KNOWN
    assert [name for name, _ in found][:2] == ["ARG", "FROM"]
    for name, rest in found:
        if name == "COPY":
            *sources, target = rest.split()
            assert target and all((ROOT / source).exists() for source in sources), rest
        if name in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(word, str) for word in json.loads(rest))


def test_the_containers_base_is_an_argument_and_any_base_gets_python_3_11() -> None:
    found = instructions()
    assert found[0] == ("ARG", "BASE=docker.io/library/python:3.11-slim") and found[1] == ("FROM", "${BASE}")
    run = next(rest for name, rest in found if name == "RUN")
    assert "command -v python3.11" in run and "python3.11-venv" in run and "python3.11 -m venv" in run
    declared = {rest.partition("=")[0] for name, rest in found if name == "ARG"}
    used = {word for _, rest in found for word in re.findall(r"\$\{(\w+)\}", rest)}
    assert used == declared
    assert re.search(r"BASE=docker.io/nvidia/cuda:\S+-runtime-ubuntu22.04", CONTAINERFILE)


def test_shell_and_commands_of_the_container_are_valid() -> None:
    for name, rest in instructions():
        if name == "RUN":
            assert subprocess.run(["sh", "-n", "-c", rest], check=False).returncode == 0, rest
    words = dict(instructions())
    assert json.loads(words["ENTRYPOINT"]) == ["hjepa"]
    assert understood(json.loads(words["CMD"]))
    shown = re.findall(r"^#   podman run .* hjepa ?(.*)$", CONTAINERFILE, re.MULTILINE)
    assert len(shown) == 2 and understood(shlex.split(shown[0]))
