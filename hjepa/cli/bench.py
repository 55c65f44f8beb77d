"""hjepa bench: what hjepa does on this machine, and beside others on public benchmarks."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from hjepa.cli import bench_loop, files, quick
from hjepa.cli.progress import reporter
from hjepa.errors import DataError

if TYPE_CHECKING:
    from hjepa.tasks.badminton.rallies import Rallies, Truth

app = typer.Typer(
    help="What hjepa does on this machine, and beside others on public benchmarks.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.command("loop")(bench_loop.loop)
app.command("sim")(bench_loop.sim)
app.command("train")(bench_loop.train)


@app.callback()
def _root() -> None:
    pass


@app.command("forecast")
def forecast(
    given: Annotated[
        Path | None, typer.Option("--given", metavar="GIVEN.csv", help="Strokes told; the challenge's val otherwise.")
    ] = None,
    truth: Annotated[Path | None, typer.Option("--truth", metavar="GT.csv", help="What came after them.")] = None,
    transformer: Annotated[
        Path | None,
        typer.Option(
            "--transformer",
            metavar="FOLDER",
            help="Also a plain Transformer of the same size, trained into this folder on the same rallies if it is not "
            "there yet (about 5 minutes).",
        ),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=10, help="Futures drawn of each rally.")] = 600,
    small: quick.Quick = False,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Of `hjepa train rally`; else the shipped ones.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Also write the figures here.")] = None,
) -> None:
    """Score stroke forecasts as the CoachAI Badminton Challenge 2023 (track 2) does; lower is better.

    Every forecaster with every policy of making six samples; paired with second-order counts, with 95 % intervals.

    Example: `hjepa bench forecast --transformer runs/transformer --json runs/forecast.json`
    """
    if (given is None) != (truth is None):
        raise DataError("--given and --truth belong together; allowed: both, or neither for the challenge's val")
    if json is not None:
        files.check_file(json)
    if small:
        draws, transformer = quick.DRAWS, transformer and quick.apart(transformer)
    if transformer is not None:
        files.check_folder(transformer, "--transformer")
    rallies, after, whole = _asked(given, truth, quick.RALLIES if small else None)
    from hjepa import build, forecasting
    from hjepa.evaluation import forecasts
    from hjepa.tasks.badminton.rallies import load_rallies

    build.use_one_thread()
    console = Console()
    model = build.load_rally_level(weights or build.shipped("rally"))
    train = load_rallies().of("train")
    train = train.rows_of(np.arange(len(train.name)) < quick.RALLIES) if small else train
    forecasters: list[Any] = [*forecasts.counting(train), forecasting.RallyForecaster(model)]
    if transformer is not None:
        with reporter(console, "train the Transformer") as report:
            forecasters.append(forecasting.trained_transformer(transformer, seed, report, quick=small))
    table = Table("forecaster", "six samples", "total", "CE", "MAE", "total - reference (95 %)", title=_title(given))
    rows = []
    with console.status("forecasting"):
        for row in forecasts.table(forecasters, rallies, after, train, draws, seed):
            rows.append(row)
            console.print(f"{row.name}, {row.policy}: {row.total:.4f}", style="dim", highlight=False)
    for row in sorted(rows, key=lambda r: r.total):
        over = "reference" if row.name == forecasts.REFERENCE else "{:+.3f} ({:+.3f} to {:+.3f})".format(*row.over)
        table.add_row(row.name, row.policy, *(f"{v:.4f}" for v in row[2:5]), over)
    for name, *figures in forecasts.PUBLISHED:
        table.add_row(name, "as published", *(f"{v:.4f}" for v in figures), "", style="dim")
    console.print(table)
    after_each = _next_stroke(forecasters, whole, console)
    if json is not None:
        found = {"rows": [row._asdict() for row in rows], "next_stroke": after_each, "rallies": len(rallies.name)}
        files.write_text(json, json_format.dumps(found, indent=1))
        console.print(f"written: {json}")


def _asked(given: Path | None, truth: Path | None, most: int | None) -> tuple[Rallies, Truth, Rallies]:
    """What is told, what came after, and both together, of at most so many rallies; DataError where they do not fit."""
    from hjepa.tasks.badminton.rallies import Truth, continued, load_rallies, read_given, read_truth, told

    if given is None or truth is None:
        rallies, after = told(load_rallies().of("val"))
    else:
        rallies, after = read_given(given), read_truth(truth)
    if most is not None:
        rallies = rallies.rows_of(np.arange(len(rallies.name)) < most)
        rows = np.isin(after.name, rallies.name)
        after = Truth(after.name[rows], after.ball_round[rows], after.type[rows], after.landing[rows])
    return rallies, after, continued(rallies, after)


def _title(given: Path | None) -> str:
    return "CoachAI Challenge 2023, track 2: " + ("val" if given is None else str(given))


def _next_stroke(forecasters: list[Any], rallies: Rallies, console: Console) -> dict[str, Any]:
    """Teacher-forced: the next stroke's type from the true strokes before it."""
    from hjepa import forecasting

    losses = {f.name: forecasting.next_log_losses(f, rallies) for f in forecasters}
    table = Table(
        "forecaster", "-log p(next type)", "less the rally JEPA's (95 %)", title="next stroke, told the truth"
    )
    found: dict[str, Any] = {}
    ours = losses[forecasting.RallyForecaster.name]
    from hjepa.evaluation.forecasts import interval

    for name, loss in losses.items():
        over = interval(loss - ours)
        found[name] = {"mean": float(loss.mean()), "less_ours": over}
        told = "" if loss is ours else "{:+.3f} ({:+.3f} to {:+.3f})".format(*over)
        table.add_row(name, f"{loss.mean():.4f}", told)
    console.print(table)
    return found


@app.command("planner")
def planner(
    peers: Annotated[
        Path | None,
        typer.Option(
            "--peers",
            metavar="PYTHON",
            help="Also stable-worldmodel's solvers: everything runs in this interpreter, of an environment that "
            "tests/benchmarks/peers_setup.sh made.",
        ),
    ] = None,
    strokes: Annotated[int, typer.Option("--strokes", min=1, help="Real situations: first searches of strokes.")] = 40,
    rounds: Annotated[
        int, typer.Option("--rounds", min=0, help="Of the search beside its bare matrix products; 0: leave that out.")
    ] = 20,
    small: quick.Quick = False,
    json: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Also write the figures here.")] = None,
) -> None:
    """Search the low level's energy in real situations, and compare a search with its own matrix products.

    Energies that the searches end at, their CPU-seconds, how much sooner ours comes as far. One thread.

    Example: `hjepa bench planner --peers peers/bin/python --json runs/planner.json`
    """
    if json is not None:
        files.check_file(json)
    strokes, rounds = (quick.SITUATIONS, 0) if small else (strokes, rounds)  # compiling takes minutes
    from hjepa.benches import planner as bench

    console = Console()
    with console.status("searching"):
        found = bench.measured(strokes, rounds, peers)
    title = "first searches of the low level; swm: stable-worldmodel"
    table = Table("search", "energy, median (90 %)", "CPU", "wall", "hjepa as far, times sooner (missed)", title=title)
    for name, row in found["searched"].items():
        middle, high = np.quantile(row["energy"], (0.5, 0.9))
        sooner = found["faster"].get(name)
        told = "" if sooner is None else f"{sooner['median']:.0f} ({sooner['not_reached']})"
        spent = (f"{1e3 * np.median(row[key]):.1f} ms" for key in ("cpu_s", "wall_s"))
        table.add_row(name, f"{middle:.2f} ({high:.2f})", *spent, told)
    console.print(table)
    if found["limit"]:
        table = Table("model", "search", "CPU", "over bare products", "energy", title="300 x 30, horizon 5")
        for row in found["limit"]:
            energy = f"{row['energy']:.2f}" if "energy" in row else ""
            table.add_row(row["case"], row["name"], f"{1e3 * row['cpu_s']:.0f} ms", f"{row['over_bare']:.2f}", energy)
        console.print(table)
    about = ", ".join(f"{key} {value}" for key, value in found["about"].items())
    console.print(about, style="dim", highlight=False)
    if json is not None:
        files.write_text(json, json_format.dumps(found, indent=1))
        console.print(f"written: {json}")
