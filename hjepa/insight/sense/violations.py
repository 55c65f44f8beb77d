"""Possible and impossible episodes told apart by surprise: AUC, pairwise accuracy, false alarms.

impossible: a Disturbance (robots.sim) of size 1, 3 or 10;  possible: its twin, half of them with a harmless change
score of an episode = highest surprise from that instant on (planning.surprise.Watcher)
"""

from __future__ import annotations

from functools import partial

from hjepa import build
from hjepa.insight.sense.asked import Asked, Found
from hjepa.insight.sense.violations_filter import FLIGHT, surprises
from hjepa.insight.sense.violations_pairs import KINDS, PLAYED, SIZES, draw, feed_of, normal
from hjepa.insight.sense.violations_parts import Block, Watched, WatchedParts
from hjepa.insight.sense.violations_played import play
from hjepa.insight.sense.violations_told import found
from hjepa.insight.sense.violations_watch import through, watch
from robots.spec import load_spec

PAIRS, NORMAL = 60, 10  # of each kind and size; normal strokes for each of these
QUICK = 2, (3.0,)  # pairs and sizes


def examine(asked: Asked) -> Found:
    """Watch every pair, then tell."""
    count, sizes = QUICK if asked.quick else (PAIRS, SIZES)
    count = count if asked.strokes is None else asked.strokes
    return found(watched(asked, count, sizes), asked.config, asked.name)


def watched(asked: Asked, count: int, sizes: tuple[float, ...]) -> Watched:
    """All kinds, `count` pairs of each size, and normal play; what has been watched before is read."""
    config, seed = asked.config, asked.config.task.seed
    build.use_one_thread()
    feed, parts = feed_of(config.task.feed), WatchedParts(asked.out / "violations_parts", config, count)
    wanted = [(kind, size) for kind in KINDS for size in ((1.0,) if kind in PLAYED else sizes)]
    total = 2 * count * len(wanted) + NORMAL * count
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        asked.progress("violations", done, total)

    spec = load_spec(config.robot.name)
    look = partial(watch, look=through(build.watcher(build.low_bundle(config, spec))), spec=spec, seen=step)
    blocks: list[Block] = []
    for kind, size in wanted:
        pairs = draw(feed, kind, size, count, seed)
        sides = {"impossible": [p.impossible for p in pairs], "possible": [p.possible for p in pairs]}
        see = partial(play, config=config, seen=step) if kind in PLAYED else look
        a, b = (parts.traces(f"{kind}_{size:g}_{side}", partial(see, cases)) for side, cases in sides.items())
        rival = None
        if kind in FLIGHT:
            see = partial(watch, look=surprises, spec=spec)
            c, d = (parts.traces(f"{kind}_{size:g}_{side}_rival", partial(see, cases)) for side, cases in sides.items())
            rival = c, d
        done = 2 * count * (len(blocks) + 1)  # also where it was read
        blocks.append(Block(kind, size, tuple(p.possible.harmless for p in pairs), a, b, rival))
    cases = normal(feed, NORMAL * count, seed)
    return Watched(blocks, parts.traces("normal", partial(look, cases)))
