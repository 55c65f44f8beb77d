"""The report of an evaluation: what was reached, how it came about, and where it comes from, on one page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hjepa import config as settings
from hjepa.benches import host
from hjepa.config import Config
from hjepa.evaluation.metrics import Interval, Summary, quantile, rate, within
from hjepa.evaluation.results import Point, StrokeResult
from hjepa.insight import origin
from hjepa.viewer.page import Film, Fold, Image, Page, Section, Table, Tile
from hjepa.viewer.pictures import landing, times
from hjepa.viewer.pictures.paper import Picture, encoded

FILMED = 6  # strokes
TELLING = 3  # of these that were lost, at most
WORST = 12  # strokes that the table names
DASH = "-"
FAULTS = {
    "": "landed in, but not returned",
    "miss": "the racket did not meet it",
    "net": "into the net",
    "out": "landed out",
    "own side": "landed on the own side",
    "touched net": "the robot touched the net",
}


class Run(NamedTuple):
    """An evaluation that has been played."""

    config: Config
    name: str  # of the configuration, as it was given
    results: Sequence[StrokeResult]
    summary: Summary
    lines: Sequence[tuple[str, str]]  # the same in words, as the command line prints it
    command: str  # that was typed
    date: str


def filmed(results: Sequence[StrokeResult]) -> list[int]:
    """Which strokes to film, in the order of play: some that were lost, feasible ones first, then the first ones."""
    lost = sorted((k for k, r in enumerate(results) if not r.returned), key=lambda k: not results[k].feasible)[:TELLING]
    others = [k for k in range(len(results)) if k not in lost]
    return sorted([*lost, *others[: FILMED - len(lost)]])


def page(run: Run, film: tuple[bytes, Sequence[int]] | None) -> Page:
    """film: an MP4, and which strokes it shows."""
    c, s = run.config, run.summary
    title = (
        f"{c.robot.name} plays {s.episodes} strokes: {_percent(s.return_rate_feasible.value)} of the feasible returned"
    )
    lead = f"Agent {c.agent.name}, configuration {run.name}, seed {c.task.seed}; {run.date}."
    note = origin.small_print(c, run.name)
    figures = Table("All figures; rates with 95 % intervals (Wilson)", ("figure", "value"), run.lines, (0, 1))
    where = _image(landing.draw(run.results, note), "Targets, landings and their errors.")
    sections = [
        Section("Figures", (figures,)),
        Section("Where the strokes landed", (where,)),
        Section("By shot", (_by_shot(run.results), _by_incoming(run.results))),
        Section("Time", (_times(run, note),)),
        Section("The worst strokes", (_worst(run.results),)),
    ]
    if film is not None:
        sections.append(Section("Film", (_film(run.results, *film),)))
    config = Fold("Resolved configuration", settings.dump(c))
    return Page(title, lead, _tiles(s), [*sections, Section("Where this comes from", (_provenance(run), config))])


def _tiles(s: Summary) -> list[Tile]:
    low, error = s.plan_ms.low, s.landing_error_m
    return [
        Tile(_percent(s.return_rate_feasible.value), "returned, of the feasible", _interval(s.return_rate_feasible)),
        Tile(_percent(s.return_rate.value), "returned, of all", _interval(s.return_rate)),
        Tile(_percent(s.within_1m_rate.value), "within 1 m of the target, of all", _interval(s.within_1m_rate)),
        Tile(_number(error.median, " m"), "landing error, median", f"p90 {_number(error.p90, ' m')}"),
        Tile(_number(low.p50, " ms", 1), "low-level plan, median", f"p99 {_number(low.p99, ' ms', 1)}"),
    ]


def _image(picture: Picture, caption: str) -> Image:
    return Image("image/svg+xml", encoded(picture.figure, "svg"), picture.says, f"{caption} {picture.says}.")


def _times(run: Run, note: str) -> Image:
    low = [ms for r in run.results for ms in r.plan_ms_low]
    high = [ms for r in run.results for ms in r.plan_ms_high]
    charged = run.config.low.latency_ms, run.config.high.latency_ms
    return _image(times.draw(low, high, charged, note), "Wall time; in lockstep the clock is charged the dotted line.")


def _by_shot(results: Sequence[StrokeResult]) -> Table:
    header = ("chosen shot", "strokes", "returned", "95 %", "realised", "error median m", "error p90 m")

    def row(name: str, some: Sequence[StrokeResult]) -> list[str]:
        hits = [r for r in some if r.hit]
        back, real = rate(r.returned for r in some), rate(r.realised_type == r.commanded_type for r in hits)
        errors = [r.landing_error_m for r in hits]
        shares = (_percent(back.value), _interval(back), _percent(real.value) if name else DASH)
        return [name or "none", str(len(some)), *shares, *(_number(quantile(errors, q)) for q in (0.5, 0.9))]

    rows = _grouped(results, lambda r: r.commanded_type, row)
    return Table(
        "By the shot that was chosen; realised: the flight is classified as that shot, of the hits", header, rows
    )


def _by_incoming(results: Sequence[StrokeResult]) -> Table:
    header = ("incoming stroke", "strokes", "feasible", "returned, of the feasible", "95 %", "within 1 m, of all")

    def row(name: str, some: Sequence[StrokeResult]) -> list[str]:
        able = [r for r in some if r.feasible]
        back = rate(r.returned for r in able)
        near = rate(within(r) for r in some)
        return [name, str(len(some)), str(len(able)), _percent(back.value), _interval(back), _percent(near.value)]

    return Table("By the stroke that came", header, _grouped(results, lambda r: r.feed_type, row))


def _grouped(
    results: Sequence[StrokeResult],
    key: Callable[[StrokeResult], str],
    row: Callable[[str, Sequence[StrokeResult]], list[str]],
) -> list[list[str]]:
    """A row for each group, the largest first."""
    groups: dict[str, list[StrokeResult]] = {}
    for r in results:
        groups.setdefault(key(r), []).append(r)
    return [row(name, some) for name, some in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))]


def worst(results: Iterable[StrokeResult]) -> list[StrokeResult]:
    """Lost though feasible, then lost as the oracle loses them, then returned far from their target."""

    def rank(r: StrokeResult) -> tuple[int, float]:
        error = r.landing_error_m if math.isfinite(r.landing_error_m) else 0.0
        return (2 if r.returned else 0 if r.feasible else 1), -error

    return sorted(results, key=rank)[:WORST]


def _worst(results: Sequence[StrokeResult]) -> Table:
    rows = [
        [
            r.id, r.feed_type, r.commanded_type or DASH, happened(r), _point(r.target_xy_m), _point(r.landing_xy_m),
            _number(r.landing_error_m), _number(r.plan_ms, "", 1),
        ]
        for r in worst(results)
    ]  # fmt: skip
    header = (
        "stroke",
        "incoming",
        "chosen",
        "what happened",
        "target x y m",
        "landed x y m",
        "error m",
        "slowest plan ms",
    )
    return Table(
        "Lost though feasible; lost, and by an oracle with perfect state too; returned far from the target",
        header,
        rows,
        (0, 1, 2, 3),
    )


def happened(r: StrokeResult) -> str:
    """How a stroke ended, in words."""
    said = "returned" if r.returned else FAULTS.get(r.fault, r.fault)
    if r.feasible:
        return said
    return f"{said}, though an oracle loses it" if r.returned else f"{said}; an oracle loses it too"


def _film(results: Sequence[StrokeResult], data: bytes, shown: Sequence[int]) -> Film:
    names = ". ".join(f"{results[k].id}: {happened(results[k])}" for k in shown)
    return Film(data, f"{names}. Slow motion around each contact.")


def _provenance(run: Run) -> Table:
    c = run.config
    rows = [
        ("command", run.command),
        ("date", run.date),
        ("seed", str(c.task.seed)),
        ("commit", host.commit()),
        ("machine", origin.machine()),
        ("versions", ", ".join(f"{name} {version}" for name, version in host.versions().items())),
        *((f"weights, {name} (SHA-256)", digest) for name, digest in origin.weights(c, origin.levels(c)).items()),
    ]
    return Table("A commit with '+' had changes that were not committed", ("what", "value"), rows, (0, 1))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if math.isfinite(share) else DASH


def _interval(x: Interval) -> str:
    return f"{100 * x.lo:.1f} to {100 * x.hi:.1f} %" if math.isfinite(x.value) else DASH


def _number(value: float, unit: str = "", digits: int = 2) -> str:
    return f"{value:.{digits}f}{unit}" if math.isfinite(value) else DASH


def _point(xy: Point) -> str:
    x, y = (round(value, 2) + 0.0 for value in xy)  # no -0.00
    return f"{x:.2f} {y:.2f}" if math.isfinite(xy[0]) else DASH
