"""pytest tests/unit/test_launch_table.py: the table of a running graph."""

import io

from rich.console import Console

from hjepa.cli.launch import _table
from hjepa.launching.supervised import Row


def test_the_table_shows_each_node_and_its_last_line_as_it_is() -> None:
    console = Console(width=100, record=True, force_terminal=False, file=io.StringIO())
    rows = [
        Row("driver", "driver", 4242, "running", 61.4, 0, 12.6, 70 * 2**20, "[red] is text, not markup"),
        Row("low", "low", None, "pausing", 0.0, 3, 0.0, 0, ""),
    ]
    console.print(_table(rows))
    header, driver, low = console.export_text().splitlines()
    assert header.split() == ["node", "pid", "state", "up", "restarts", "CPU", "memory", "last", "line"]
    assert driver.split()[:7] == ["driver", "4242", "running", "61", "s", "0", "13"]
    assert driver.rstrip().endswith("70 MB  [red] is text, not markup")
    assert low.split()[:6] == ["low", "-", "pausing", "0", "s", "3"]
