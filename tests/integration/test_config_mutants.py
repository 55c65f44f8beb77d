"""pytest tests/integration/test_config_mutants.py: of 200 configurations with one mistake each, none is accepted."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hjepa.cli.app import main
from tests.mutated import KINDS, Mutant, mutants, sources, write

ROOT = Path(__file__).parent.parent.parent
COUNT = 200


def refusal(mutant: Mutant, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `hjepa config check` says; it must end with exit code 2."""
    path = write(mutant, folder)
    with pytest.raises(SystemExit) as stopped:
        main(["config", "check", str(path)])
    said = capsys.readouterr()
    assert stopped.value.code == 2, f"accepted ({mutant.kind}, {mutant.source}):\n{mutant.data!r}"
    assert said.out == ""
    return said.err


def test_every_mutant_is_refused_with_file_line_and_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    for mutant in mutants(COUNT):
        said = refusal(mutant, tmp_path, capsys)
        place = re.compile(rf"hjepa: {re.escape(str(tmp_path / mutant.source))}:[1-9]\d*: ")
        told = f"{mutant.kind}, {mutant.source}:\n{said}"
        assert place.match(said), told
        assert mutant.says in said, f"'{mutant.says}' is not in\n{told}"
        assert "Traceback" not in said, told
        assert all(line.startswith("hjepa: ") for line in said.splitlines()), told
        seen.append(mutant)
    assert len({mutant.data for mutant in seen}) == COUNT
    assert {mutant.kind for mutant in seen} == set(KINDS)
    assert {mutant.source for mutant in seen} == {source.name for source in sources()}


def test_what_the_mutants_are_made_from_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in set(sources()):
        path = write(Mutant(source.name, "", source.text.encode(), ""), tmp_path)
        with pytest.raises(SystemExit) as stopped:
            main(["config", "check", str(path)])
        assert stopped.value.code == 0, capsys.readouterr().err


def test_a_process_of_its_own_refuses_them_too(tmp_path: Path) -> None:
    paths = []
    for mutant in mutants(len(KINDS), seed=1):
        folder = tmp_path / mutant.kind
        paths.append(write(mutant, folder))
    command = [sys.executable, "-m", "hjepa.cli", "config", "check", *map(str, paths)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for path in paths:
        assert f"hjepa: {path}:" in done.stderr
