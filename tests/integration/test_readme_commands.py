"""pytest tests/integration/test_readme_commands.py: every command in a bash block of the documentation is valid.

make targets are resolved without running them; hjepa commands are parsed and their configuration is loaded.
"""

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from hjepa import config
from hjepa.cli import options
from hjepa.cli.app import app, spread_sets
from hjepa.launching import graph
from hjepa.tuning import space as spaces

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
NOT_OURS = {"git", "cd", "pip", "uv", "tensorboard", "ray"}  # said to the reader, nothing of ours to check


def blocks(language: str) -> list[tuple[str, str]]:
    """(page, text) of each code block of a language."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(page.name, text) for page in PAGES for text in pattern.findall(page.read_text(encoding="utf-8"))]


def commands() -> list[str]:
    lines = [line for _, text in blocks("bash") for line in text.replace("\\\n", " ").splitlines()]
    return list(dict.fromkeys(line.partition(" #")[0].strip() for line in lines if line.strip() and line[0] != "#"))


def test_the_readme_shows_commands() -> None:
    assert "make demo" in commands()
    assert any(command.startswith("hjepa eval") for command in commands())


@pytest.mark.parametrize("command", commands())
def test_command_of_the_documentation_is_valid(command: str) -> None:
    words = shlex.split(command.partition(" > ")[0])
    name = words[0].removeprefix(".venv/bin/")
    if name == "make":
        target_known = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert target_known.returncode == 0, target_known.stderr
    elif name == "hjepa":
        check_hjepa(spread_sets(words[1:]))
    elif name == "torchrun":
        check_hjepa(words[words.index("hjepa.cli") + 1 :])
    elif name == "python" and words[1:3] == ["-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words[3:] if not word.startswith("-"))
    elif name == "python":
        script = (ROOT / words[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in script for word in words[2:] if word.startswith("--"))
    else:
        assert name in NOT_OURS, f"no check for '{command}': add one, or name it in NOT_OURS"


def check_hjepa(words: list[str]) -> None:
    """Parse the words as the command line does, then load the file they name, if any, with what they set."""
    verb, rest = typer.main.get_command(app), words
    while hasattr(verb, "commands"):
        rest = verb.spelt(rest) if hasattr(verb, "spelt") else rest  # hjepa config CONFIG
        verb, rest = verb.commands[rest[0]], rest[1:]
    parameters = verb.make_context(verb.name, rest).params
    if words[0] == "launch":
        graph.load(parameters["graph"], parameters["sets"] or [])
    elif "config" in parameters and not (parameters.get("set_files") or missing(parameters["config"])):
        sets = parameters.get("sets") or []
        loaded = options.other_task(parameters["config"], sets, {}) or config.load(parameters["config"], sets)
        if words[0] == "tune" and parameters["space"]:
            spaces.load(parameters["space"], loaded)


def missing(name: str) -> bool:
    """A reader's own file, which is not here."""
    return name.endswith(".yaml") and not (ROOT / name).is_file()


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_of_the_documentation_compiles_and_names_what_exists(page: str, text: str) -> None:
    tree = ast.parse(text, page)
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "hjepa"}
    import hjepa

    assert used <= set(hjepa.__all__)


def test_links_of_the_documentation_point_to_files() -> None:
    dead = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target and not (page.parent / target).exists():
                dead.append(f"{page.name}: {target}")
    assert not dead, dead
