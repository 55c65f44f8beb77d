"""What each level knows, how far it sees ahead, and whether it knows what an action changes: `hjepa probe levels`.

The oracle plays real strokes; what the levels say at the same moments is probed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hjepa import build
from hjepa.insight import origin
from hjepa.insight.sense import levels_actions, levels_steps
from hjepa.insight.sense import levels_told as told
from hjepa.insight.sense.asked import Asked, Found
from hjepa.insight.sense.levels_actions import agreement
from hjepa.insight.sense.levels_embedded import CURVES, Curve, Models, Read, ask, curve, drawn, read
from hjepa.insight.sense.levels_embedded import Asked as Said
from hjepa.insight.sense.levels_played import UNITS, play
from hjepa.insight.sense.levels_probes import EPOCHS
from hjepa.insight.sense.levels_steps import Ahead
from robots.spec import load_spec

STROKES, QUICK = 120, 3  # of the test matches
FIT = 2  # training strokes for each of them
CHAINS, RALLIES = 1500, 400  # that predictions of the upper levels are made on


def examine(asked: Asked) -> Found:
    """Plays, asks, probes; tables, pictures and figures of it."""
    numbers = _measure(asked)
    note = origin.small_print(asked.config, asked.name, ("low", "high", "rally"))
    return Found(told.figures(numbers), told.tables(numbers), told.pictures(numbers, note), told.says(numbers))


def _measure(asked: Asked) -> told.Numbers:
    config, seed = asked.config, asked.config.task.seed
    build.use_one_thread()
    strokes = QUICK if asked.quick else asked.strokes or STROKES
    epochs, few = (3, 40) if asked.quick else (EPOCHS, 10**9)
    folder = asked.out / "levels_parts"

    def part(name: str) -> Any:
        return lambda done, total: asked.progress(name, done, total)

    fit = play(config, "train", FIT * strokes, folder, part("strokes to fit on"))
    held = play(config, "test", strokes, folder, part("strokes to score on"), twice=True)
    rally = build.load_rally_level(build.weights_path(config, "rally"))
    low = build.low_bundle(config, load_spec(config.robot.name)).level
    models = Models(low, build.high_model(config), rally)
    said, said_held = ask(models, fit), ask(models, held)
    found: Read = {}
    for what, scores in read(said, said_held, seed, epochs):
        found[what] = scores
        asked.progress("probes", len(found), len(UNITS) + len(CURVES))
    curves: dict[str, Curve] = {}
    for what in CURVES:
        curves[what] = curve(said, said_held, what, seed, epochs)
        asked.progress("probes", len(UNITS) + len(curves), len(UNITS) + len(CURVES))
    ahead = _ahead(models, said_held, min(CHAINS, few), min(RALLIES, few), seed)
    pairs = levels_actions.pairs(config, strokes, folder, part("pairs of actions"))
    x, y, both = pairs.change()
    rng = np.random.default_rng([seed, 66])
    changes = {name: agreement(x[both, k], y[both, k], rng) for k, name in enumerate(levels_actions.OUTCOME)}
    sizes = {level: z.shape[1] for level, z in said_held.z.items()}
    choice = drawn(held, np.random.default_rng([seed, 67]))
    return told.Numbers(fit, held, found, choice, curves, ahead, pairs, changes, sizes)


def _ahead(models: Models, held: Said, chains: int, rallies: int, seed: int) -> list[Ahead]:
    z, rng = held.z["low"], np.random.default_rng([seed, 65])
    errors = {
        ("low: features of z", "20 ms"): levels_steps.low_features(models.low, z, held.played),
        ("low: the shuttle ahead", "20 ms"): levels_steps.low_shuttle(models.low, z, held.played),
        ("high: s, the stroke told", "a stroke"): levels_steps.high_strokes(models.high, "test", chains, seed),
        **{
            (f"rally: state, {words}", "a stroke"): levels_steps.rally_strokes(
                models.rally, "test", rallies, told, seed
            )
            for told, words in ((True, "the stroke told"), (False, "nothing told"))
        },
    }
    return [found.ahead(name, step, rng) for (name, step), found in errors.items()]
