"""The batches that the low level learns strokes from."""

from __future__ import annotations

import numpy as np
import torch

from hjepa.models.low import LowInput, LowLevel
from hjepa.training.low import Batch
from hjepa.training.low_data import Prepared
from hjepa.training.low_run import LowRun
from hjepa.training.ranks import Ranks


class Lessons:
    """The batches of a training run: some are drawn, recalled and used a few times in turn, then others."""

    TOGETHER = 8

    def __init__(self, level: LowLevel, prepared: Prepared, run: LowRun, salt: list[int], ranks: Ranks) -> None:
        self.level, self.prepared, self.run, self.salt, self.ranks = level, prepared, run, salt, ranks
        self._drawn: dict[int, Batch] = {}

    def batch(self, step: int) -> Batch:
        """For a step; the same whatever was asked before."""
        turn = step // (self.TOGETHER * self.run.level.reuse)
        number = turn * self.TOGETHER + step % self.TOGETHER
        if number not in self._drawn:
            self._drawn = {k: b for k, b in self._drawn.items() if k // self.TOGETHER == turn}
            self._drawn[number] = self._draw(number)
        return self._drawn[number]

    def _draw(self, number: int) -> Batch:
        c, prepared, rng = self.run.level, self.prepared, np.random.default_rng([*self.salt, number])
        rows = prepared.train[rng.integers(len(prepared.train), size=c.batch)]
        if len(prepared.searched):
            searched = round(self.run.settle_searched * c.batch)
            rows[:searched] = prepared.searched[rng.integers(len(prepared.searched), size=searched)]
        batch = prepared.data.draw(
            rows, rng, c.noise_m, c.dropout, other_sensors=c.other_sensors, labelled=c.labelled, hidden=c.hidden
        )
        return batch._replace(now=self._recalled(batch.now))

    @torch.no_grad()
    def _recalled(self, now: LowInput) -> LowInput:
        memory = self.level.encoder.memory
        seen = (part.to(self.ranks.device) for part in (now.window_m, now.mask))
        return now._replace(recalled=memory.recall(*seen).cpu())
