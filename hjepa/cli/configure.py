"""hjepa config: print a resolved configuration."""

from __future__ import annotations

import typer

from hjepa import config as room
from hjepa.cli import options


def configure(config: options.Config = "badminton", sets: options.Sets = None) -> None:
    """Print a configuration with every key, its value and its meaning; a file to start one's own from.

    Example: `hjepa config badminton --set low.iterations=4 > mine.yaml`
    """
    other = options.other_task(config, sets, {})
    typer.echo(room.explain(other.config if other else room.load(config, sets or [])), nl=False)
