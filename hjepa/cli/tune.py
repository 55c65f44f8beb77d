"""hjepa tune: search keys of a configuration for what plays better, and check the winner on fresh strokes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hjepa.cli import files, options, play
from hjepa.cli.progress import reporter
from hjepa.config import Config, load
from hjepa.errors import ConfigError, DataError, extra

if TYPE_CHECKING:
    from hjepa.tuning.outcome import Outcome
    from hjepa.tuning.run import Plan
    from hjepa.tuning.study import Trial

OUT = Path("runs/tune")
TRIALS, FRESH = 40, 200
QUICK = {"trials": 4, "strokes": 4, "fresh": 4, "block": 2}
TOP = 10  # trials of the table on the console


def tune(
    space: Annotated[
        str | None, typer.Argument(metavar="SPACE", help="Search space by name, or a .yaml file; see docs/tune.md.")
    ] = None,
    config: options.Config = "badminton",
    trials: Annotated[
        int | None, typer.Option("--trials", min=2, help=f"How many, all runs together ({TRIALS}).")
    ] = None,
    fresh: Annotated[
        int | None, typer.Option("--fresh", min=4, help=f"Unseen strokes on which the winner is checked ({FRESH}).")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Parallel processes that play.")] = 2,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="ADDRESS", help="Play on a Ray cluster: HOST:PORT, auto, or local; docs/scale.md."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the study lies; resumed if there.")] = OUT,
    quick: Annotated[
        bool, typer.Option("--quick", help="A try-out of half a minute: 4 trials of 4 strokes; it proves nothing.")
    ] = False,
    show: Annotated[
        Path | None, typer.Option("--show", metavar="FOLDER", help="Print the table of a study; plays nothing.")
    ] = None,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Search a configuration's keys; writes best.yaml (what to change), tables and plots, and an honest verdict.

    Every trial plays the same strokes. At the end winner and default play others, and paired intervals tell whether
    the gain is real. Killed or interrupted: the same command goes on, no trial is lost.

    Example: `hjepa tune quick badminton --trials 40 --workers 2`
    """
    with extra("tune"):
        import_module("optuna")
    console = Console()
    if show is not None:
        _show(console, show)
        return
    if space is None:
        raise ConfigError("which search space? hjepa tune SPACE CONFIG; allowed: " + ", ".join(_spaces()))
    with extra("view"):
        import_module("matplotlib")
    files.check_folder(out)
    plan = _plan(space, _chosen(config, sets, set_files), trials, fresh, quick)
    if ray is not None:
        from hjepa.training.spread_ray import check_address

        check_address(ray)
    _run(console, plan, out, (space, config), workers, ray)


def _spaces() -> list[str]:
    from hjepa.tuning.space import names

    return names()


def _chosen(config: str, sets: list[str] | None, set_files: list[Path] | None) -> Config:
    """What is tuned."""
    if options.other_task(config, sets, {}, set_files) is not None:
        raise ConfigError(f"hjepa tune plays strokes of badminton; '{config}' is another task")
    settings = options.settings(config, sets or [], set_files)
    if settings.run.clock != "lockstep":
        raise ConfigError("run.clock=realtime: trials would not repeat; allowed: lockstep")
    return settings


def _plan(space: str, settings: Config, trials: int | None, fresh: int | None, quick: bool) -> Plan:
    from hjepa.tuning import space as spaces

    chosen = spaces.load(space, settings)
    if quick:
        chosen = chosen.model_copy(update={"strokes": QUICK["strokes"], "block": QUICK["block"]})
    from hjepa.tuning.run import Plan

    return Plan(
        chosen,
        settings,
        min(trials or TRIALS, QUICK["trials"]) if quick else trials or TRIALS,
        min(fresh or FRESH, QUICK["fresh"]) if quick else fresh or FRESH,
    )


def _run(console: Console, plan: Plan, out: Path, names: tuple[str, str], count: int, ray: str | None) -> None:
    from hjepa.benches import host
    from hjepa.tuning import run, workers

    before = host.load()
    console.print(_opening(plan, ray or f"{count} processes"), highlight=False, soft_wrap=True)
    with play.judging(console) as judging:
        ground = run.strokes_of(plan, judging)
    hired: Callable[..., Any] = (
        partial(workers.processes, slots=count) if ray is None else partial(workers.on_ray, address=ray, slots=count)
    )
    try:
        with reporter(console, "trials") as bar:
            outcome = run.tune(
                plan,
                out,
                hired,
                ground,
                lambda trials: _progress(bar, trials, plan),
                lambda: console.print(f"winner and default play {plan.fresh} fresh strokes"),
            )
    except KeyboardInterrupt:
        console.print(f"\nstopped; the same command goes on from {out}/", soft_wrap=True)
        raise
    with console.status("drawing"), files.whole(out) as folder:
        run.write(folder, outcome, plan, load(names[1]), names, before)
        files.write_config(folder, plan.config)
    _print(console, outcome)
    written = ", ".join(sorted(path.name for path in out.iterdir() if path.suffix in (".yaml", ".csv", ".md", ".png")))
    console.print(f"\nwritten to {out}/: {written}", soft_wrap=True)
    if outcome.verdict is not None:
        console.print(f"next: hjepa demo {names[1]} --set-file {out / 'best.yaml'}", soft_wrap=True)


def _opening(plan: Plan, who: str) -> str:
    s = plan.space
    aim = ", ".join(s.objectives) or " ".join(f"{weight:+g} {name}" for name, weight in s.score.items())
    keys = "1 key" if len(s.search) == 1 else f"{len(s.search)} keys"
    return f"{plan.trials} trials of {s.strokes} {s.feed} strokes over {keys}, for {aim}; {who}"


def _progress(bar: Callable[..., None], trials: list[Trial], plan: Plan) -> None:
    """The running best beside the default, in each objective."""
    from hjepa.tuning.objective import figure_of
    from hjepa.tuning.ranking import winner

    figures = figure_of(plan.space.objectives, plan.space.score)
    shown: dict[str, float] = {}
    if trials and trials[0].number == 0:
        best, default = winner(trials, figures), trials[0]
        shown["best trial"] = best.number
        for figure, ours, theirs in zip(figures, best.objectives, default.objectives, strict=True):
            shown[figure.name] = ours
            shown[f"default {figure.name}"] = theirs
    bar(len(trials), max(len(trials), plan.trials), shown)


def _print(console: Console, outcome: Outcome) -> None:
    from hjepa.tuning.outcome import rows, verdict_rows

    _ranked(console, *rows(outcome.trials, outcome.figures, list(outcome.space.search)))
    if outcome.verdict is not None:
        console.print()
        _table(console, *verdict_rows(outcome.verdict))
    console.print(f"\n[bold]{outcome.said}[/bold]", highlight=False, soft_wrap=True)


def _ranked(console: Console, header: list[str], body: list[list[str]]) -> None:
    """The best trials; what they tried in one column, which folds."""
    first = next(k for k, name in enumerate(header) if "." in name)  # of the keys
    names = [name.rpartition(".")[2] for name in header[first:]]
    tried = [", ".join(f"{name} {cell}" for name, cell in zip(names, row[first:], strict=True)) for row in body]
    short = [[*row[:first], values] for row, values in zip(body, tried, strict=True)]
    _table(console, [*header[:first], "values"], short[:TOP])
    if len(body) > TOP:
        console.print(f"... and {len(body) - TOP} more", style="dim")


def _table(console: Console, header: list[str], body: list[list[str]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in header:
        table.add_column(name, no_wrap=name not in ("values", "difference (95 %)", ""))
    for row in body:
        table.add_row(*row)
    console.print(table)


def _show(console: Console, out: Path) -> None:
    """The table of a study that lies there, and its verdict where it came to one."""
    from hjepa.tuning import study
    from hjepa.tuning.objective import figure_of
    from hjepa.tuning.outcome import rows
    from hjepa.tuning.space import Space

    asked, trials = study.read(out)
    space = Space.model_validate_json(json.dumps(asked["space"]))
    _ranked(console, *rows(trials, figure_of(space.objectives, space.score), list(space.search)))
    report = out / "report.json"
    if not report.is_file():
        console.print(f"\nthe study has not ended ({len(trials)} trials did): the same command goes on")
        return
    try:
        said = json.loads(report.read_text(encoding="utf-8"))["said"]
    except (ValueError, KeyError) as error:
        raise DataError(f"{report}: no report of a study; delete it and run again") from error
    console.print(f"\n[bold]{said}[/bold]", highlight=False, soft_wrap=True)
