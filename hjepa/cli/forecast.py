"""hjepa forecast: the other strokes of rallies of which the first four are told, in the challenge's form."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hjepa.cli import files, quick


class PolicyName(StrEnum):
    quantised = "quantised"
    offsets = "offsets"
    one = "one"


def forecast(
    given: Annotated[Path, typer.Option("--given", metavar="GIVEN.csv", help="Strokes told, as in val_given.csv.")],
    out: Annotated[Path, typer.Option("--out", metavar="OUT.csv", help="Six samples of the others.")] = Path(
        "prediction.csv"
    ),
    policy: Annotated[
        PolicyName,
        typer.Option(
            "--policy",
            help="quantised: six samples of least expected score. offsets: the same types six times, landing points at "
            "fixed places. one: one sample, six times.",
        ),
    ] = PolicyName.quantised,
    draws: Annotated[int, typer.Option("--draws", min=10, help="Futures drawn of each rally.")] = 600,
    small: quick.Quick = False,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    weights: Annotated[
        Path | None, typer.Option("--weights", metavar="FILE", help="Of `hjepa train rally`; else the shipped ones.")
    ] = None,
) -> None:
    """Forecast how rallies go on: type and landing point of every stroke, by the rally level's latent roll-out.

    Reads and writes the files of the CoachAI Badminton Challenge 2023, track 2 (ShuttleSet22, arXiv 2306.15664).
    `hjepa bench forecast` scores it beside counts, a Transformer and the published figures.

    Example: `hjepa forecast --given val_given.csv --out runs/prediction.csv`
    """
    files.check_file(out)
    draws = quick.DRAWS if small else draws
    from hjepa.tasks.badminton.forecast import forecast as samples
    from hjepa.tasks.badminton.forecast import write_forecast
    from hjepa.tasks.badminton.rallies import read_given

    rallies = read_given(given)
    from hjepa import build
    from hjepa.forecasting import RallyForecaster, policies

    build.use_one_thread()
    console = Console()
    with console.status(f"{len(rallies.name)} rallies, {draws} futures each"):
        model = build.load_rally_level(weights or build.shipped("rally"))
        found = samples(RallyForecaster(model), policies()[policy.value], rallies, draws, seed)
        out.parent.mkdir(parents=True, exist_ok=True)
        part = out.with_name(f".{out.name}.part")
        write_forecast(part, rallies, found)
        part.replace(out)
    console.print(
        f"written: {out} ({sum(f.types.shape[1] for f in found)} strokes of {len(found)} rallies, six samples)"
    )
