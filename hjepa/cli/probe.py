"""hjepa probe: what the levels know of the physical world, measured."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table as Shown

from hjepa.cli import files, options
from hjepa.cli.progress import reporter
from hjepa.config import task_name
from hjepa.errors import ConfigError, DataError, extra, nearest
from hjepa.insight.sense import KINDS
from hjepa.tasks import catalog


def probe(
    what: Annotated[str, typer.Argument(metavar="[WHAT]", help="; ".join(f"{k}: {v}" for k, v in KINDS.items()))] = (
        "levels"
    ),
    config: options.Config = "badminton",
    strokes: Annotated[int | None, typer.Option("--strokes", min=1, help="How many strokes (as usual for WHAT).")] = (
        None
    ),
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Tables, pictures, JSON.")] = Path("runs/probe"),
    quick: Annotated[bool, typer.Option("--quick", help="Very few strokes: to see that it works, no figures.")] = False,
    seed: options.Seed = None,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Measure the physical sense of the levels; tables on the screen, WHAT.json, WHAT.md and pictures in a folder.

    Example: `hjepa probe occlusion --strokes 200 --out runs/probe`
    """
    if what not in KINDS:
        raise DataError(f"probe {what}: unknown examination; {nearest(what, KINDS)}")
    if (name := task_name(config, sets or [])) != catalog.OWN:
        raise ConfigError(f"probe: examines task '{catalog.OWN}'; got a configuration of task '{name}'")
    files.check_folder(out)
    settings = options.settings(config, options.changes(sets, task__seed=seed), set_files)
    with extra("view"):
        from hjepa.viewer.pictures.paper import save
    with extra("learn"):
        from hjepa.insight.sense.asked import Asked

        examine: Any = importlib.import_module(f"hjepa.insight.sense.{what}").examine
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    with reporter(console, f"probe {what}") as report:
        asked = Asked(settings, str(config), strokes, quick, out, lambda part, done, total: report(done, total, {}))
        found = examine(asked)
    for table in found.tables:
        shown = Shown(*table.columns, title=table.title, title_justify="left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    console.print(found.says, soft_wrap=True)
    for picture in found.pictures:
        save(picture, out)
    files.write_text(out / f"{what}.json", files.with_config(json.dumps(found.figures), settings))
    pages = [f"**{table.title}**\n\n{table.markdown()}\n" for table in found.tables]
    files.write_text(out / f"{what}.md", "\n".join(pages))
    console.print(f"written to {out}/: {what}.json, {what}.md, {len(found.pictures)} pictures", soft_wrap=True)
