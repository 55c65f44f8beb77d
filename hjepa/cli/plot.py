"""hjepa plot: pictures of what the levels learned and decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hjepa.cli import files, options
from hjepa.config import Config, task_name
from hjepa.errors import ConfigError, DataError, extra, nearest
from hjepa.tasks import catalog
from hjepa.viewer.pictures import FORMATS, KINDS, check_formats

READS = {".csv": ("landing", "shots"), ".mcap": ("ledger",)}  # kinds that a file is enough for


def plot(
    what: Annotated[str, typer.Argument(metavar="WHAT", help=f"{', '.join(KINDS)}, or all.")],
    source: Annotated[
        str,
        typer.Argument(
            metavar="[CONFIG|FILE]", help="Configuration; or strokes.csv of a run (landing, shots), .mcap (ledger)."
        ),
    ] = "badminton",
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the pictures go.")] = Path("runs/plots"),
    formats: Annotated[str, typer.Option("--format", metavar="A,B", help="png, svg, or both.")] = ",".join(FORMATS),
    quick: Annotated[bool, typer.Option("--quick", help="Fewer strokes: seconds for each picture.")] = False,
    seed: options.Seed = None,
    agent: options.Agent = None,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Draw what the levels learned and decided; beside each picture lie its numbers (CSV).

    latent: the high level's map of real strokes. shots: from where and to where, players and robot. landing: targets
    and landings. probes: what each level knows. energy: what a decision was chosen from. ledger: where the time goes.

    Example: `hjepa plot all --quick --out runs/plots`
    """
    kinds = _kinds(what)
    kept = _formats(formats)
    files.check_folder(out)
    given = Path(source)
    file = given if given.suffix in READS else None
    if file is not None:
        _check_file(file, kinds)
    settings = _settings("badminton" if file else source, sets, set_files, seed, agent)
    with extra("view"):
        from hjepa.viewer.pictures.paper import save
    with extra("learn"):
        from hjepa.insight.pictures import QUICK, Asked, Size, make

    strokes, recording = (file if file is not None and file.suffix == end else None for end in READS)
    asked = Asked(settings, source, QUICK if quick else Size(), strokes, recording)
    console = Console()
    with console.status("") as status:
        status.update(f"computing {kinds[0]}")

        def made(name: str) -> None:
            after = kinds[kinds.index(name) + 1 :]
            status.update(f"computing {after[0]}" if after else "writing")

        pictures = make(kinds, asked, made)
        with files.whole(out) as folder:
            for picture in pictures:
                save(picture, folder, kept)
    for picture in pictures:
        console.print(f"{picture.name}: {picture.says}", soft_wrap=True)
    names = [f"{picture.name}.{kind}" for picture in pictures for kind in (*kept, "csv")]
    console.print(f"written to {out}/: {', '.join(names)}", soft_wrap=True)


def _kinds(what: str) -> tuple[str, ...]:
    if what == "all":
        return KINDS
    if what not in KINDS:
        raise DataError(f"plot {what}: unknown picture; {nearest(what, (*KINDS, 'all'))}")
    return (what,)


def _formats(text: str) -> tuple[str, ...]:
    """`png,svg` -> the formats, each once."""
    kinds = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    check_formats(kinds)
    return kinds


def _check_file(file: Path, kinds: tuple[str, ...]) -> None:
    """DataError unless the file is there and the pictures can be drawn from it."""
    if not file.is_file():
        raise DataError(f"{file}: no such file; give a configuration, strokes.csv of a run, or a recording (.mcap)")
    for kind in kinds:
        if kind not in READS[file.suffix]:
            raise DataError(f"plot {kind} from {file}: allowed from such a file: {', '.join(READS[file.suffix])}")


def _settings(
    config: str, sets: list[str] | None, set_files: list[Path] | None, seed: int | None, agent: str | None
) -> Config:
    name = task_name(config, sets or [])
    if name != catalog.OWN:
        raise ConfigError(f"plot: pictures are of task '{catalog.OWN}'; got a configuration of task '{name}'")
    changes = options.changes(sets, task__seed=seed, agent__name=options.check_agent(agent))
    return options.settings(config, changes, set_files)
