"""What watched pairs say: figures, tables, pictures. Legend: N pairs, K kinds, S sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hjepa.config import Config
from hjepa.evaluation.metrics import Interval, poisson, rate
from hjepa.insight.sense.asked import Found, Table
from hjepa.insight.sense.violations_pairs import HARMLESS, PLAYED
from hjepa.insight.sense.violations_parts import Block, Watched
from hjepa.insight.sense.violations_scores import (
    CONFORMAL_P,
    Scores,
    auc,
    mean_over,
    onsets,
    pairwise,
    recalling,
)
from hjepa.insight.sense.violations_watch import Traces, times_s
from hjepa.types import Array
from hjepa.viewer.pictures import violations as pictures
from robots.sim.disturbance import UNITS

BEYOND = 3.0  # sizes from here on are beyond training
_STREAM = 53  # of random numbers


class Alarm(NamedTuple):
    """What raises an alarm."""

    name: str
    threshold: float
    of_p: bool  # p at most so small, instead of a score at least so high

    def raised(self, traces: Traces) -> NDArray[np.bool_]:
        """(N, T)."""
        return traces.p <= self.threshold if self.of_p else traces.score >= self.threshold

    def of_episodes(self, traces: Traces) -> NDArray[np.bool_]:
        """(N,) whether it is raised from the instant on at which something happens."""
        return traces.rarest() <= self.threshold if self.of_p else traces.highest() >= self.threshold


def found(watched: Watched, config: Config, name: str) -> Found:
    """Everything there is to tell."""
    rng = np.random.default_rng([config.task.seed, _STREAM])
    told = _told(watched.blocks, rng)
    alarms = _alarms(watched.blocks)
    figures: dict[str, Any] = {
        "units": {kind: unit._asdict() for kind, unit in UNITS.items()},
        "kinds": told,
        "mean_auc": {
            key: asdict(_mean(watched.blocks, least, rng)) for key, least in (("all", 0.0), ("beyond", BEYOND))
        },
        "alarms": {alarm.name: _alarm_figures(alarm, watched) for alarm in alarms},
    }
    worst = min(told, key=lambda kind: told[kind]["beyond"]["auc"]["value"])
    said = (
        f"AUC, mean over {len(told)} kinds: {_spoken(figures['mean_auc']['beyond'])} at 3 and 10 x, "
        f"{_spoken(figures['mean_auc']['all'])} at all sizes; worst {worst} {_spoken(told[worst]['beyond']['auc'])}; "
        + "; ".join(
            f"{_spoken(figures['alarms'][a.name]['per_minute'])} false alarms a minute ({a.name})" for a in alarms
        )
    )
    note = (
        f"{name}, {config.task.feed} matches, seed {config.task.seed}; in brackets: 95 % interval, bootstrap over pairs"
    )
    drawn = [pictures.draw_table(_auc_table(told), note)]
    if examples := _examples(watched.blocks):
        drawn.append(pictures.draw_examples(examples, alarms[0].threshold, note))
    return Found(figures, [_kinds_table(told), _alarm_table(figures["alarms"])], drawn, said)


def scores(blocks: Iterable[Block], rival: bool = False) -> Scores:
    """Of all pairs in which both have one; or the rival's."""
    sides = [block.rival if rival and block.rival else (block.impossible, block.possible) for block in blocks]
    impossible, possible = (np.concatenate([side.highest() for side in part]) for part in zip(*sides, strict=True))
    fine = np.isfinite(impossible) & np.isfinite(possible)
    return Scores(impossible[fine], possible[fine])


def _kinds(blocks: Sequence[Block]) -> dict[str, list[Block]]:
    return {kind: [b for b in blocks if b.kind == kind] for kind in dict.fromkeys(b.kind for b in blocks)}


def _beyond(blocks: Sequence[Block], least: float = BEYOND) -> list[Block]:
    """Those of a size; what has one size is always there."""
    return [block for block in blocks if block.size >= least or block.kind in PLAYED]


def _told(blocks: Sequence[Block], rng: np.random.Generator) -> dict[str, Any]:
    """AUC and pairwise accuracy by kind and size."""
    told: dict[str, Any] = {}
    for kind, own in _kinds(blocks).items():
        groups = {f"{block.size:g}": [block] for block in own} | {"all": own, "beyond": _beyond(own)}
        told[kind] = {}
        for key, group in groups.items():
            s = scores(group)
            told[kind][key] = {
                "auc": asdict(auc(s, rng)),
                "pairwise": asdict(pairwise(s, rng)),
                "pairs": len(s.impossible),
            }
            if all(block.rival for block in group):
                told[kind][key]["filter"] = asdict(auc(scores(group, rival=True), rng))
    return told


def _mean(blocks: Sequence[Block], least: float, rng: np.random.Generator) -> Interval:
    groups = [scores(_beyond(own, least)) for own in _kinds(blocks).values()]
    return mean_over([group for group in groups if len(group.impossible)], rng)


def _alarms(blocks: Sequence[Block]) -> list[Alarm]:
    """Thresholds: what finds 95 % of the flown violations beyond training, of all; and what is rare in normal play."""
    flown = [block for block in blocks if block.kind not in PLAYED]
    beyond, every = (np.concatenate([b.impossible.highest() for b in group]) for group in (_beyond(flown), flown))
    return [
        Alarm("95 % found at 3, 10 x", recalling(beyond), of_p=False),
        Alarm("95 % found at all sizes", recalling(every), of_p=False),
        Alarm(f"p <= {CONFORMAL_P:g}", CONFORMAL_P, of_p=True),
    ]


def _plain(block: Block) -> NDArray[np.bool_]:
    return np.array([not what for what in block.harmless])


def _alarm_figures(alarm: Alarm, watched: Watched) -> dict[str, Any]:
    """Recall by kind and size, false alarms of normal play, and of each harmless change alone."""
    flown = [block for block in watched.blocks if block.kind not in PLAYED]
    calm = [block for block in flown if block.kind != "net"]  # what the net stops is possible, but no normal play
    begun, minutes = onsets(alarm.raised(watched.normal)).sum(), watched.normal.minutes.sum()
    for block in calm:
        begun += onsets(alarm.raised(block.possible))[_plain(block)].sum()
        minutes += block.possible.minutes[_plain(block)].sum()
    false = {what: _raised(alarm, calm, what) for what in ("", *HARMLESS)}
    net = [block for block in flown if block.kind == "net"]
    return {
        "threshold": alarm.threshold,
        "recall": {
            kind: {f"{block.size:g}": _share(alarm.of_episodes(block.impossible)) for block in own}
            for kind, own in _kinds(flown).items()
        },
        "false_alarms": int(begun),
        "minutes": float(minutes),
        "per_minute": asdict(poisson(int(begun), float(minutes))),
        "episodes": {"nothing": false.pop(""), **false, "net stops it": _raised(alarm, net, "")},
    }


def _raised(alarm: Alarm, blocks: Sequence[Block], what: str) -> dict[str, Any]:
    """Share of possible episodes with that change in which there is an alarm."""
    flags = [
        alarm.of_episodes(block.possible)[np.array([carried == what for carried in block.harmless])] for block in blocks
    ]
    return _share(np.concatenate(flags) if flags else np.empty(0, dtype=bool))


def _share(flags: NDArray[np.bool_]) -> dict[str, Any]:
    share = rate(flags.tolist())
    return {**asdict(share), "value": share.value if len(flags) else None, "episodes": len(flags)}


def _spoken(interval: dict[str, Any]) -> str:
    return f"{interval['value']:.2f} ({interval['lo']:.2f}-{interval['hi']:.2f})"


def _kinds_table(told: dict[str, Any]) -> Table:
    sizes = _sizes(told)
    rows = []
    for kind, own in told.items():
        cells = [_spoken(own[size]["auc"]) if size in own and kind not in PLAYED else "" for size in sizes]
        known = [_spoken(own["all"][key]) if key in own["all"] else "" for key in ("auc", "pairwise", "filter")]
        rows.append((kind, str(own["all"]["pairs"]), *cells, *known))
    columns = (
        "kind",
        "pairs",
        *(f"AUC, {size} x" for size in sizes),
        "AUC, all",
        "pairwise, all",
        "Kalman filter: AUC, all",
    )
    return Table("Impossible against possible episodes (half of these with a harmless change)", columns, rows)


def _sizes(told: dict[str, Any]) -> list[str]:
    flown = [own for kind, own in told.items() if kind not in PLAYED]
    return [key for key in flown[0] if key not in ("all", "beyond")]


def _alarm_table(alarms: dict[str, Any]) -> Table:
    """Alarms across, what they do down."""
    each = list(alarms.values())

    def recall(own: dict[str, Any], beyond: bool) -> str:
        shares = [
            v["value"] for sizes in own["recall"].values() for k, v in sizes.items() if (float(k) >= BEYOND) == beyond
        ]
        return f"{np.mean(shares):.2f}" if shares else ""

    rows = [
        ("threshold", *(f"{own['threshold']:.3g}" for own in each)),
        ("recall, 3 and 10 x", *(recall(own, beyond=True) for own in each)),
        ("recall, 1 x", *(recall(own, beyond=False) for own in each)),
        ("false alarms a minute of normal play", *(_spoken(own["per_minute"]) for own in each)),
        ("of how many in how many minutes", *(f"{own['false_alarms']} in {own['minutes']:.1f}" for own in each)),
    ]
    for what in each[0]["episodes"]:
        shares = [own["episodes"][what] for own in each]
        rows.append(
            (f"episodes with an alarm: {what}", *(_spoken(share) if share["episodes"] else "" for share in shares))
        )
    return Table("Alarms: what they find, and how often they are wrong", ("", *alarms), rows)


def _auc_table(told: dict[str, Any]) -> pictures.AucTable:
    keys = (*_sizes(told), "all")
    cells = np.full((3, len(told), len(keys)), np.nan)
    for k, (kind, own) in enumerate(told.items()):
        for s, key in enumerate(keys):
            if key in own and (key == "all" or kind not in PLAYED):
                cells[:, k, s] = [own[key]["auc"][part] for part in ("value", "lo", "hi")]
    names = tuple("all sizes" if key == "all" else f"{key} x" for key in keys)
    return pictures.AucTable(tuple(told), names, *cells)


def _examples(blocks: Sequence[Block]) -> list[pictures.Example]:
    """The first pair of each flown kind at the size in the middle: nobody chose it."""
    made = []
    for kind, own in _kinds(blocks).items():
        if kind not in PLAYED:
            block = own[len(own) // 2]
            a, b = (_row(side) for side in (block.impossible, block.possible))
            n = min(len(a), len(b))
            at_s = float(block.impossible.at_s[0])
            made.append(pictures.Example(f"{kind}, {block.size:g} x", times_s(n), a[:n], b[:n], at_s))
    return made


def _row(traces: Traces) -> Array:
    row = traces.score[0]
    return row[np.isfinite(row)].astype(np.float64)
