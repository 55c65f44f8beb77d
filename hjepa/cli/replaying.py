"""hjepa bus replay: run a level of a recording again, or play its streams to whoever listens."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hjepa.errors import ConfigError, DataError, extra
from hjepa.launching import runtime

if TYPE_CHECKING:
    from hjepa.bus.logfile import Log
    from hjepa.bus.replay import Replayed
    from hjepa.export.lerobot import Render
    from hjepa.types import Array
    from hjepa.viewer.video import Frame

DIVERGED = 1


def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recording (.mcap).")],
    node: Annotated[str | None, typer.Option("--node", help="Level to run again: high or low.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show the first divergence field by field.")] = False,
    play: Annotated[bool, typer.Option("--play", help="Publish the streams at their own pace instead.")] = False,
    speed: Annotated[float, typer.Option("--speed", min=0.01, help="With --play: so many times as fast.")] = 1.0,
    base: Annotated[str, typer.Option("--at", metavar="ADDRESS", help="With --play: where to publish.")] = "",
) -> None:
    """Run a level again from a recording: it must say the same bytes (exit code 0), or where it first does not (1)."""
    if play == (node is not None):
        raise ConfigError("give either --node high|low, to run a level again, or --play")
    with extra("log"):
        from hjepa.bus.logfile import Log
    log = Log(file)
    if log.cut:
        typer.echo(f"hjepa: {file}: {log.cut}", err=True)
    if node is None:
        _play(log, speed, base)
        return
    with extra("learn"):
        from hjepa import provenance
        from hjepa.bus import replay as engine
    engine.check_level(node)
    result = engine.replay(log, node, provenance.rebuild(log, node))
    show(result, diff)
    raise typer.Exit(DIVERGED if result.divergence else 0)


def show(result: Replayed, full: bool) -> None:
    """What came of a replay; full: the divergence field by field."""
    counts = ", ".join(f"{topic} {count}" for topic, count in result.same.items()) or "none"
    typer.echo(f"{result.node}: {result.turns} turns; messages equal byte for byte: {counts}")
    if result.unheard:
        typer.echo(f"{result.unheard} messages came out that the recording lacks")
    if result.unexplained:
        typer.echo(f"{result.unexplained} messages at the end have no journal: the recording was cut")
    if result.divergence is not None:
        typer.echo(f"first divergence: {result.divergence.where}")
        for line in result.divergence.lines if full else result.divergence.lines[:1]:
            typer.echo(f"  {line}")


def _play(log: Log, speed: float, base: str) -> None:
    from hjepa.bus.playback import play

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    name = f"playback-{log.path.stem}"
    with runtime.registered(name, {"base": base or "ipc://{folder}", "pid": os.getpid()}) as folder:
        where = base or f"ipc://{folder}"
        typer.echo(f"playing {log.path} at {where}; tools find it as {name}")
        count = play(log, where, speed=speed, stop=stop)
    typer.echo(f"{count} frames played")


def renderer(log: Log) -> Render:
    """What draws an episode of a recorded robot; DataError where the recording does not say which robot it is."""
    with extra("view"):
        from hjepa.viewer.scene import StrokeScene, chain_points
        from hjepa.viewer.video import Film
    import numpy as np

    from robots.spec import load_spec

    spec = load_spec(robot_of(log))
    axes = float(spec.racket_semi_axes_m[0]), float(spec.racket_semi_axes_m[1])

    def render(times_s: Array, q_rad: Array, shuttle_m: Array) -> Iterator[Frame]:
        seen = np.flatnonzero(np.isfinite(shuttle_m[:, 0]))
        known = shuttle_m.copy()
        known[: seen[0] if len(seen) else 0] = shuttle_m[seen[0]] if len(seen) else 0.0
        scene = StrokeScene(times_s, *chain_points(spec, q_rad), np.nan_to_num(known), axes)
        rate_hz = (len(times_s) - 1) / float(times_s[-1])
        picture = None
        count = 0
        for picture in islice(Film(1, rate_hz=rate_hz, slow=1.0).frames(scene), len(times_s)):
            count += 1
            yield picture
        for _ in range(len(times_s) - count):  # rounding may leave out the last instant
            assert picture is not None
            yield picture

    return render


def robot_of(log: Log) -> str:
    """Name of the recorded robot."""
    from hjepa.config import Config

    text = log.about.nodes.get("driver", {}).get("args", {}).get("config")
    if text is None:
        raise DataError(f"{log.path}: it does not say which robot it is of; allowed: recordings of the court")
    return Config.model_validate_json(text).robot.name
