"""What is chosen about a training run of the low level, and how it tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from hjepa.models.low import LowConfig
from hjepa.planning.objectives import LowWeights
from hjepa.training.low import LowTraining
from hjepa.training.pairs import PairConfig
from hjepa.training.proposal import ProposalTraining
from hjepa.training.searched import SearchedConfig
from hjepa.training.surprise import CalibrationConfig

Progress = Callable[[int, int, Mapping[str, float]], None]


@dataclass(frozen=True)
class LowRun:
    """Everything that is chosen about a training run of the low level."""

    pairs: PairConfig = PairConfig()
    level: LowTraining = LowTraining()
    proposal: ProposalTraining = ProposalTraining()
    searched: SearchedConfig = SearchedConfig()
    weights: LowWeights = LowWeights()  # of the energy that proposals are trained through
    model: LowConfig = LowConfig()
    flight_steps: int = 12_000  # 0: none
    flight_batch: int = 4096
    body_steps: int = 3000  # 0: none
    body_batch: int = 768
    polish_steps: int = 3000
    polish_batches: int = 150  # of 128 situations each, whose proposals are polished around
    settle_steps: int = 2000
    settle_searched: float = 0.5  # share of a settling batch whose motions a search has chosen
    refine_steps: int = 1000
    surprise: CalibrationConfig = CalibrationConfig()
    refine_rate: float = 4e-4  # a quarter of the first one: a faster start throws the proposals away (docs/log.md)


def with_seed(run: LowRun, seed: int) -> LowRun:
    """The same run from another seed (initial weights, batches)."""
    return replace(run, level=replace(run.level, seed=seed))


def relay(progress: Progress | None, total: int) -> Callable[[int, dict[str, float]], None] | None:
    return None if progress is None else lambda step, figures: progress(step + 1, total, figures)
