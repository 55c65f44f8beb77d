"""hjepa robots. Run: pytest tests/integration/test_cli_robots.py"""

from __future__ import annotations

import pytest

from hjepa.cli.app import main
from robots.catalog import DRIVERS


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `hjepa robots ...`."""
    with pytest.raises(SystemExit) as ended:
        main(["robots", *words])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_list_shows_every_driver_and_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setitem(DRIVERS, "lost", DRIVERS["fake"]._replace(extra="lost", modules=("no_such_module",)))
    code, out, _ = run(capsys, "list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()[1:] if line.strip()}
    assert set(DRIVERS) == set(lines)
    assert "pip install 'hjepa[lost]'" in lines["lost"]
    assert "installed" in lines["fake"]


def test_check_prints_a_line_per_clause_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", "fake", "--robot", "panda")
    lines = out.splitlines()
    assert code == 0
    assert len(lines) > 25
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert lines[-1] == f"fake: {len(lines) - 1} of {len(lines) - 1} clauses kept"


def test_check_of_a_driver_that_breaks_the_contract_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from robots.fake import FakeDriver

    monkeypatch.setattr(FakeDriver, "hold", lambda self: self._check())
    code, out, _ = run(capsys, "check", "fake")
    assert code == 1
    assert "FAIL a hold brakes and stays latched until rearm" in out
    assert "nothing was raised; expected CommandError" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["fakir"], "did you mean 'fake'"),
        (["fake", "--robot", "pandah"], "did you mean 'panda'"),
        (["fake", "--hardware"], "--yes-a-person-is-present"),
        (["fake", "--hardware", "--yes-a-person-is-present"], "moves no machine"),
        (["fake", "--set", "noise"], "expected option=value"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "check", *words)
    assert code == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
