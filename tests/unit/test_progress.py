"""Progress in a log file: a line now and then, and always the last one."""

import io

import pytest
from rich.console import Console

from hjepa.cli import progress


def test_a_log_file_gets_lines_not_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    with progress.reporter(Console(file=file), "train low") as report:
        for done in range(1, 6):
            report(done, 5, {"loss": 0.5 / done})
            now[0] += 8.0  # three reports in 20 s
    assert file.getvalue().splitlines() == [
        "train low 1/5  loss 0.5",
        "train low 4/5  loss 0.125",
        "train low 5/5  loss 0.1",
    ]
