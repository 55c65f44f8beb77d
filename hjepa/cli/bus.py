"""hjepa bus: look at, record and replay what nodes say to each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from hjepa.bus import listen, readable, security, stats
from hjepa.bus.topics import TOPICS
from hjepa.cli import bad_link, files, metrics, replaying, running
from hjepa.errors import DataError, LinkError, extra

app = typer.Typer(no_args_is_help=True, help="Look at, record and replay what nodes say to each other.")
app.command("replay")(replaying.replay)
app.command("metrics")(metrics.metrics)
app.command("proxy")(bad_link.proxy)

At = Annotated[
    str | None,
    typer.Option("--at", metavar="GRAPH", help="Running graph by name or address; not needed where one runs."),
]
Seconds = Annotated[float, typer.Option("--seconds", min=0.1, help="How long to listen.")]
TopicName = Annotated[str, typer.Argument(metavar="TOPIC", help="Stream, as `hjepa bus list` names it.")]


@app.command("list")
def list_topics(at: At = None, seconds: Seconds = 1.0) -> None:
    """Topics of a running graph: who owns them, what they carry, how fast they come."""
    place = running.find(at).place
    alive = {node: status is not None for node, status in listen.statuses(place, listen.owners()).items()}
    if not any(alive.values()):
        raise LinkError(f"no node answers at '{place.base}'; start a graph, or give another one: --at")
    paces = listen.paces(place, seconds)
    rows = [["topic", "owner", "alive", "Hz", "kB/s", "kinds"]]
    for topic in TOPICS.values():
        pace = paces.get(topic.name)
        rates = [f"{pace.hz:.1f}", f"{pace.bytes_per_s / 1e3:.1f}"] if pace else ["", ""]
        kinds = ", ".join(topic.kinds[:4]) + (", .." if len(topic.kinds) > 4 else "")
        rows.append([topic.name, topic.owner, "yes" if alive[topic.owner] else "no", *rates, kinds])
    _show(rows, "<<<>><")


@app.command()
def echo(
    topic: TopicName,
    at: At = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many messages.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="End after so long.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a message, with whole arrays.")] = False,
) -> None:
    """Messages of a stream as they come, a line each; Ctrl-C ends it."""
    (name,) = listen.chosen([topic])
    place = running.find(at).place
    for shown, item in enumerate(listen.heard(place, [name], seconds or float("inf")), 1):
        if item.frame is None:
            typer.echo(f"{name}: {item.size} bytes that are no frame", err=True)
        else:
            typer.echo((readable.as_json if json else readable.as_line)(name, item.frame))
        if shown == count:
            break


@app.command()
def hz(topic: TopicName, at: At = None, seconds: Seconds = 5.0) -> None:
    """How regularly a stream comes."""
    (name,) = listen.chosen([topic])
    place = running.find(at).place
    pace = listen.paces(place, seconds, [name])[name]
    if pace.frames < 2:
        raise LinkError(f"{pace.frames} messages of '{name}' in {seconds:g} s; give a longer --seconds")
    typer.echo(
        f"{name}: {pace.hz:.2f} Hz over {pace.frames} messages; interval {pace.mean_ms:.2f} ms, "
        f"deviation {pace.std_ms:.2f} ms, longest {pace.max_ms:.2f} ms; {pace.bytes_per_s / 1e3:.1f} kB/s"
    )


@app.command("stats")
def show_stats(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Recording; without one, listen.")] = None,
    at: At = None,
    seconds: Seconds = 5.0,
) -> None:
    """Where the time of commands goes: each leg from observation to motion, misses, and which leg is to blame."""
    listened = f"{seconds:g} s"
    if file is not None:
        with extra("log"):
            from hjepa.bus.logfile import Log
        frames = (readable.decoded_or_none(e.frame) for e in Log(file) if e.topic == "ledger")
    else:
        place = running.find(at).place
        frames = (item.frame for item in listen.heard(place, ["ledger"], seconds))
    found = stats.summarise([stats.ledger_of(frame) for frame in frames if frame is not None])
    if not found.commands:
        raise DataError(f"no command with a ledger in {file or listened}; allowed: graphs in real time")
    rows = [[leg.name, *(f"{ms:.3f}" for ms in leg[1:])] for leg in found.legs]
    _show([["leg", "p50 ms", "p99 ms", "max ms"], *rows], "<>>>")
    blame = ", ".join(f"{name} ({count})" for name, count in found.guilty.items()) or "none"
    typer.echo(f"{found.commands} commands, {found.late} late: {found.misses_per_10000:.1f} of 10,000; guilty: {blame}")


@app.command()
def record(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Recording to write (.mcap).")],
    at: At = None,
    topics: Annotated[list[str] | None, typer.Option("--topic", help="This stream alone; may be repeated.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="End after so long.")] = None,
) -> None:
    """Record a running graph until Ctrl-C; the file opens in Foxglove and is readable even if this is killed."""
    files.check_file(out)
    place, entry = running.find(at)
    with extra("log"):
        from hjepa.bus.record import Recorder
    with extra("learn"):
        from hjepa.provenance import about_entry
    about = about_entry(entry)
    recorder = Recorder(place, out, about, topics=topics)
    if not about.nodes:
        typer.echo("hjepa: the graph does not say how it was made: this recording cannot be replayed", err=True)
    report = recorder.run(_until_interrupted(seconds))
    total = sum(report.frames.values())
    lost = ", ".join(f"{topic} {count}" for topic, count in report.lost.items()) or "none"
    typer.echo(f"{out}: {total} frames, {report.bytes / 1e6:.1f} MB in {report.seconds:.1f} s; lost: {lost}")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Recording (.mcap).")],
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder to write.")],
    to: Annotated[str, typer.Option("--to", help="Format: lerobot (LeRobotDataset v3).")] = "lerobot",
    fps: Annotated[int, typer.Option("--fps", min=1, max=1000, help="Frames per second of the data set.")] = 50,
    video: Annotated[bool, typer.Option("--video", help="Also draw each frame; slow.")] = False,
) -> None:
    """Turn a recording into a data set, one episode for each stroke."""
    if to != "lerobot":
        raise DataError(f"--to {to}: allowed: lerobot")
    files.check_folder(out)
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: this folder is not empty; give a new one")
    with extra("export"):
        from hjepa.export.lerobot import export as write
    with extra("log"):
        from hjepa.bus.logfile import Log
    log = Log(file)
    render = replaying.renderer(log) if video else None
    with files.whole(out) as folder:
        report = write(log, folder, fps=fps, render=render)
    typer.echo(f"{out}: {report.episodes} episodes, {report.frames} frames at {fps} fps")


@app.command()
def keygen(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder for the keys.")]) -> None:
    """Make the keys that a graph over several machines needs; existing ones are never overwritten."""
    made = security.keygen(folder)
    typer.echo(f"{folder}: {len(made)} files; give another machine the .key files, {security.COMMAND_KEY} and its own")


def _until_interrupted(seconds: float | None) -> Callable[[], bool]:
    """True once Ctrl-C was pressed or the time is over."""
    import signal
    import time

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    end = float("inf") if seconds is None else time.monotonic() + seconds
    return lambda: stop.is_set() or time.monotonic() > end


def _show(rows: list[list[str]], sides: str) -> None:
    """Rows as columns; sides: < or > for each."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
