"""hjepa robots: which drivers there are, and whether one keeps the contract."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from hjepa.cli import moving, options
from hjepa.errors import ConfigError, PluginError
from robots.catalog import Entry, clashes, driver_class, drivers, moves_machine
from robots.emulators.rig import has_rig

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode="markdown", help="Drivers: list them, check one; stop, arm or jog a robot."
)
for verb in (moving.stop, moving.release, moving.arm, moving.jog):
    app.command(verb.__name__)(verb)


@app.command("list")
def list_drivers() -> None:
    """The catalogue: each driver, the extra it needs, and whether that is installed; other packages' as well."""
    table = Table("driver", "robot", "extra", "state", box=None)
    for name, known in drivers().items():
        state = _state(name, known)
        if has_rig(name):
            state += ", has an emulator"
        table.add_row(name, ", ".join(filter(None, known.robots)) or "-", known.extra or "-", state.replace("[", "\\["))
    Console().print(table)
    for line in clashes():
        typer.echo(f"not listed: {line}")


def _state(name: str, known: Entry) -> str:
    """Whether a driver can be used; that of another package is imported to see it, and may be broken."""
    if not known.package:
        return f"not installed: {known.remedy}" if known.missing else "installed"
    try:
        driver_class(name)
    except PluginError as error:
        return f"broken: {error}"
    return f"installed, from {known.package}"


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A driver of the catalogue: hjepa robots list.")],
    robot: options.RobotOrFile = None,
    hardware: Annotated[
        bool, typer.Option("--hardware/--emulator", help="The machine itself, at a tenth of its limits.")
    ] = False,
    present: options.Present = False,
    sets: options.DriverSets = None,
) -> None:
    """Run the driver contract: one line per clause, exit code 1 if one is broken.

    Example: `hjepa robots check pybullet-arm --robot iiwa`
    """
    if hardware and not present:
        raise ConfigError("--hardware moves a real robot; allowed: together with --yes-a-person-is-present")
    if hardware and not moves_machine(name):
        raise ConfigError(f"--hardware: driver '{name}' moves no machine; allowed: without --hardware")
    from robots.check import checks, maker

    make, kind = maker(name, robot, hardware=hardware, **driver_options(sets))
    broken = tried = 0
    for result in checks(make, kind, hardware=hardware):
        tried, broken = tried + 1, broken + (not result.passed)
        typer.echo(f"{'ok  ' if result.passed else 'FAIL'} {result.clause} ({result.seconds:.1f} s)")
        if result.message:
            typer.echo(f"     {result.message}")
    typer.echo(f"{name}: {tried - broken} of {tried} clauses kept")
    if broken:
        raise typer.Exit(1)


def check_present(driver: str, present: bool, verb: str) -> None:
    """ConfigError where a driver moves a machine and nobody watches."""
    if moves_machine(driver) and not present:
        raise ConfigError(
            f"{verb} --driver {driver} moves a real robot; allowed: together with --yes-a-person-is-present"
        )


def driver_options(sets: list[str] | None) -> dict[str, Any]:
    """`port=/dev/ttyACM0` and the like as keyword arguments; the value is YAML."""
    found: dict[str, Any] = {}
    for text in sets or []:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise ConfigError(f"--set {text}: expected option=value, such as port=/dev/ttyACM0")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {text}: not a YAML value: {getattr(error, 'problem', error)}") from error
    return found
