"""Puts the verbs together, and turns errors into one line each."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from hjepa import __version__
from hjepa.cli import (
    bench,
    bus,
    calibrate,
    collect,
    configure,
    demo,
    deploy,
    doctor,
    evaluate,
    forecast,
    launch,
    match,
    plot,
    probe,
    robots,
    train,
    tune,
    view,
)
from hjepa.errors import HjepaError

USAGE, INTERRUPTED = 2, 130
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]  # the base of usage errors; its module differs by version

app = typer.Typer(
    name="hjepa",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""A robot that plans in two learned latent spaces: a slow one picks the shot, a fast one picks the motion.

    Start with `hjepa demo`: the robot returns 20 strokes that real players hit, and a film of it is written.
    `hjepa eval badminton` measures it, `hjepa config badminton` lists everything that can be set.""",
)
app.command("demo")(demo.demo)
app.command("eval")(evaluate.evaluate)
app.command("collect")(collect.collect)
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("launch")(launch.launch)
app.command("doctor")(doctor.doctor)
app.command("calibrate")(calibrate.calibrate)
app.command("forecast")(forecast.forecast)
app.command("match")(match.match)
app.add_typer(configure.app, name="config")
app.command("plot")(plot.plot)
app.command("probe")(probe.probe)
app.command("view")(view.view)
app.add_typer(bench.app, name="bench")
app.add_typer(deploy.app, name="deploy")
app.add_typer(robots.app, name="robots")
app.add_typer(bus.app, name="bus")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hjepa {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


def spread_sets(arguments: Sequence[str]) -> list[str]:
    """`--set a=1 b=2` -> `--set a=1 --set b=2`: every word with an equals sign that follows belongs to --set."""
    out: list[str] = []
    follows = False
    for word in arguments:
        if follows and out[-1] != "--set" and "=" in word and not word.startswith("-"):
            out.append("--set")
        elif not (follows and out[-1] == "--set"):
            follows = word == "--set"
        out.append(word)
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `hjepa` command."""
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # read when torch is imported, here and in every child: small networks
    words = spread_sets(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(words, prog_name="hjepa", standalone_mode=False)
    except HjepaError as error:
        for line in str(error).splitlines():
            typer.echo(f"hjepa: {line}", err=True)
        code = USAGE
    except _ClickError as error:
        said = error.format_message() if hasattr(error, "format_message") else str(error)
        if type(error).__name__ != "NoArgsIsHelpError":
            typer.echo(f"hjepa: {' '.join(str(said).split())} (hjepa --help lists the commands)", err=True)
        code = USAGE
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("hjepa: interrupted", err=True)
        code = INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)
