"""hjepa bench loop | sim | train: what this machine does in real time, simulating and learning."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from hjepa.cli import files, options
from hjepa.cli.progress import reporter

if TYPE_CHECKING:
    from hjepa.benches.host import Spread
    from hjepa.benches.loop import Loop

QUICK_S = 3.0
Json = Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Also write the figures here.")]


def loop(
    config: options.Config = "badminton",
    minutes: Annotated[float, typer.Option("--minutes", min=0.02, help="Simulated time, which is real time.")] = 10.0,
    hogs: Annotated[int, typer.Option("--hog", min=0, metavar="N", help="So many busy processes beside it.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help=f"{QUICK_S:.0f} seconds instead.")] = False,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="FOLDER", help="Its levels and configuration, instead of CONFIG.")
    ] = None,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
    json: Json = None,
) -> None:
    """Play strokes in real time with a process for each node, and account for every low-level decision that was due.

    The low level decides at 50 Hz within 8 ms, unless --set low.replan_period_ms and low.budget_ms say otherwise.

    Example: `hjepa bench loop --minutes 10 --hog 2 --json runs/loop.json`
    """
    if json is not None:
        files.check_file(json)
    specs = None
    if bundle is None:
        changes = options.changes(sets, low__replan_period_ms=20, low__budget_ms=8, run__clock="realtime")
        settings = options.settings(config, changes, set_files)
    else:
        from hjepa.deploy import controller

        specs, settings = controller.specs_of(bundle, sets or [])
    from hjepa import api, build
    from hjepa.benches import host
    from hjepa.benches import loop as bench

    console, load_before = Console(), host.load()
    build.use_one_thread()
    system = api.System(settings, acts=False)  # the nodes do
    with reporter(console, "real time, s") as report:
        found = bench.run(system, QUICK_S / 60 if quick else minutes, hogs=hogs, specs=specs, report=report)
    _show_loop(console, found, settings.low.replan_period_ms, hogs)
    if json is not None:
        asked = {"period_ms": settings.low.replan_period_ms, "hogs": hogs, "bundle": bundle is not None}
        figures = asked | found._asdict() | {"misses_per_10000": found.misses_per_10000}
        files.write_text(json, host.as_json("loop", figures, load_before))
        console.print(f"written: {json}")


def _show_loop(console: Console, found: Loop, period_ms: int, hogs: int) -> None:
    beside = f", {hogs} busy processes beside it" if hogs else ""
    title = f"low level every {period_ms} ms, {found.simulated_s:.0f} s in real time{beside}"
    table = _table(title, "ms", "count", "p50", "p99", "p99.9", "max")
    rows = {
        "low-level plan": found.plan_ms,
        "  those that searched": found.searched_ms,
        "observation to command": found.latency_ms,
        "  high level otherwise idle": found.alone_ms,
        "  where the plan searched": found.searching_ms,
        "  until it was sent": found.sent_ms,
        **{f"  {name}": leg for name, leg in found.legs_ms.items()},
        "driver's tick, late by": found.tick_late_ms,
    }
    for name, values in rows.items():
        table.add_row(name, *_cells(values))
    console.print(table)
    why = found.reasons
    console.print(
        f"\ndecisions due: {found.due}; missed: {found.missed}, [bold]{found.misses_per_10000:.1f} of 10,000[/bold]\n"
        f"  never planned for: {why.superseded} superseded, {why.goal_late} without a goal yet; "
        f"plan longer than the period: {why.overlong}\n"
        f"  commands at the driver after their start: {why.started_late}; never accepted: {why.lost}\n"
        f"driver's ticks missed: {found.ticks_missed}; strokes returned: {found.returned} of {found.strokes}\n"
        "share of a core: " + ", ".join(f"{name} {100 * share:.0f} %" for name, share in found.cpu.items()),
        highlight=False,
        soft_wrap=True,
    )


def _cells(values: Spread) -> list[str]:
    return [str(values.n), *("-" if math.isnan(v) else f"{v:.2f}" for v in values[1:])]


def sim(
    strokes: Annotated[int, typer.Option("--strokes", "-n", min=1, help="How many strokes.")] = 100,
    robot: options.RobotOrFile = None,
    quick: Annotated[bool, typer.Option("--quick", help="10 strokes instead.")] = False,
    json: Json = None,
) -> None:
    """Simulate strokes without planning, beside bare pybullet.stepSimulation of the same body at the same rate.

    Example: `hjepa bench sim --strokes 300 --json runs/sim.json`
    """
    if json is not None:
        files.check_file(json)
    from hjepa.benches import host
    from hjepa.benches import sim as bench

    console, load_before = Console(), host.load()
    count = 10 if quick else strokes
    with reporter(console, "strokes") as report:
        found = bench.run(count, robot=robot or "courtbot", report=report)
    table = _table(f"{count} strokes, one process", "", "strokes/s", "x real time", "us a tick", "x bare steps")
    for name, pace in found.items():
        figures = (f"{pace.strokes_per_s:.1f}", f"{pace.real_time_factor:.1f}", f"{pace.us_a_tick:.0f}")
        table.add_row(name, *figures, f"{pace.over_bare:.2f}")
    console.print(table)
    if json is not None:
        files.write_text(json, host.as_json("sim", {"strokes": count, "ways": found}, load_before))
        console.print(f"written: {json}")


def train(
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="For each level on each device.")] = 10.0,
    devices: Annotated[
        list[str] | None, typer.Option("--device", help="This one alone, cpu or cuda; may be repeated. Else all.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One second each instead.")] = False,
    json: Json = None,
) -> None:
    """Time training steps of both levels on every device, beside bare matrix products of as many operations.

    Example: `hjepa bench train --json runs/train.json`
    """
    if json is not None:
        files.check_file(json)
    from hjepa import build
    from hjepa.benches import host
    from hjepa.benches import train as bench

    build.use_one_thread()
    console, load_before = Console(), host.load()
    with reporter(console, "levels") as report:
        found = bench.run(1.0 if quick else seconds, devices, report)
    names = ("", "batch", "steps/s", "samples/s", "draw ms", "step ms", "Gflop", "bare ms", "of bare")
    table = _table("training steps, float32; on the CPU one thread", *names)
    for device, levels in found.items():
        for name, s in levels.items():
            paces = (f"{s.steps_per_s:.1f}", f"{s.samples_per_s:.0f}", f"{s.draw_ms:.1f}", f"{s.step_ms:.1f}")
            bare = (f"{s.gflop:.2f}", f"{s.bare_ms:.2f}", f"{100 * s.of_bare:.0f} %")
            table.add_row(f"{name}, {device}", str(s.samples), *paces, *bare)
    console.print(table)
    if json is not None:
        files.write_text(json, host.as_json("train", {"devices": found}, load_before))
        console.print(f"written: {json}")


def _table(title: str, *names: str) -> Table:
    table = Table(title=title, box=None, pad_edge=False, padding=(0, 1, 0, 0))  # fits 80 columns
    for k, name in enumerate(names):
        table.add_column(name, justify="right" if k else "left")
    return table
