"""The latent map of the high level, and how well each level's embedding can be read."""

from __future__ import annotations

import numpy as np

from hjepa import build
from hjepa.config import Config
from hjepa.insight import real
from hjepa.insight.linear import correlations, principal, probe_r2
from hjepa.viewer.pictures.latent import LatentMap
from hjepa.viewer.pictures.probes import ProbeTable
from robots.spec import load_spec

AXES = 6  # principal axes that the table names


def latent_map(config: Config, count: int) -> LatentMap:
    """Of so many strokes of validation matches; probes are fitted on training matches."""
    model, seed = build.high_model(config), config.task.seed
    shown, fit = real.draw("val", count, seed), real.draw("train", count, seed)
    z, z_fit = (real.high_embeddings(model, strokes, seed=seed) for strokes in (shown, fit))
    truths, fit_truths = real.readings(shown), real.readings(fit)
    axes = principal(z)
    columns = np.stack(list(truths.values()), axis=1)
    r2 = [probe_r2((z_fit, fit_truths[name][:, None]), (z, truths[name][:, None])) for name in truths]
    kept = min(AXES, z.shape[1])
    scores = axes.scores[:, :kept]
    r = correlations(scores, columns)
    strongest = r[np.abs(r).argmax(axis=0), np.arange(kept)]
    turn = np.where(strongest < 0, -1.0, 1.0)  # an axis has no sign of its own: it points along what it goes with most
    scores, r = scores * turn, r * turn
    return LatentMap(scores, axes.shares[:kept], shown.kind, truths, r, np.array(r2))


def probe_table(config: Config, count: int) -> ProbeTable:
    """Probes of the three levels on the same strokes: fitted on training matches, scored on validation matches."""
    spec, seed = load_spec(config.robot.name), config.task.seed
    low, high = build.low_bundle(config, spec).level, build.high_model(config)
    rally = build.load_rally_level(build.weights_path(config, "rally"))
    sides = []
    for split in ("train", "val"):
        strokes = real.draw(split, count, seed)
        own = real.joints(strokes, spec, seed)
        levels = {
            "low: z": real.low_embeddings(low, strokes, own, seed),
            "high: s": real.high_embeddings(high, strokes, real.SEEN - real.DELAY, seed),
            "rally: state": real.rally_embeddings(rally, strokes),
        }
        sides.append((levels, real.truths(strokes, own)))
    (fit, fit_truths), (held, held_truths) = sides
    r2 = [
        [probe_r2((fit[name], fit_truths[asked]), (held[name], held_truths[asked])) for name in held]
        for asked in held_truths
    ]
    sizes = tuple(z.shape[1] for z in held.values())
    counts = tuple(len(next(iter(side.values()))) for side in (fit, held))
    return ProbeTable(tuple(held_truths), tuple(held), sizes, np.array(r2), counts[0], counts[1])
