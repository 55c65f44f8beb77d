"""hjepa doctor: examine this machine as a robot's controller."""

from __future__ import annotations

import json as json_format
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hjepa.cli import files
from hjepa.deploy import doctor as examination
from hjepa.deploy.examine import Finding, State
from hjepa.deploy.examine.machine import Machine

_COLOURS: dict[State, str] = {"ok": "green", "note": "cyan", "warn": "yellow", "fail": "bold red"}


def doctor(
    json: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Also write the findings here.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure wake-ups for 0.5 s instead of 2 s.")] = False,
) -> None:
    """Examine this machine as a robot's controller: what is there, what is in the way, and the remedy.

    Changes nothing. Exit code 1 if something failed; warnings and notes do not count.
    """
    if json is not None:
        files.check_file(json)
    findings = examination.examine(Machine(), examination.QUICK_S if quick else examination.LISTEN_S)
    console = Console()
    if console.is_terminal:
        console.print(_table(findings))
    else:
        for line in _lines(findings):
            typer.echo(line)
    counts = Counter(finding.state for finding in findings)
    typer.echo(", ".join(f"{counts[state]} {state}" for state in _COLOURS if counts[state]))
    if json is not None:
        files.write_text(json, json_format.dumps(examination.as_json(findings), indent=1))
        typer.echo(f"written: {json}")
    if not examination.works(findings):
        raise typer.Exit(1)


def _table(findings: list[Finding]) -> Table:
    table = Table("", "what", "seen, and what to do", box=None, pad_edge=False, header_style="bold")
    for name, state, seen, remedy in findings:
        said = Text(seen)
        if remedy:
            said.append(f"\n{remedy}", "dim")
        table.add_row(Text(state, _COLOURS[state]), name, said)
    return table


def _lines(findings: list[Finding]) -> list[str]:
    lines = []
    for name, state, seen, remedy in findings:
        lines.append(f"{state:4} {name}: {seen}")
        if remedy:
            lines.append(f"     {remedy}")
    return lines
