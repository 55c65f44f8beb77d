"""Trainings of seconds: every stage runs, nothing is learned. What comes of them only shows that all works.

The alarms of finished levels are off here: levels that have learned nothing fail them rightly.
"""

from __future__ import annotations

from hjepa.training.body import BodyConfig
from hjepa.training.cloning import CloneTraining
from hjepa.training.collect import CollectConfig
from hjepa.training.encoder import EncoderTraining
from hjepa.training.high import HighTraining
from hjepa.training.low import LowTraining
from hjepa.training.low_run import LowRun
from hjepa.training.pairs import PairConfig
from hjepa.training.pipeline import SwingRun
from hjepa.training.proposal import ProposalTraining
from hjepa.training.rally import RallyTraining
from hjepa.training.searched import SearchedConfig
from hjepa.training.surprise import CalibrationConfig
from hjepa.training.tactics import TacticsTraining

SWINGS = SwingRun(
    real=24, drawn=8, per_launch=2, body=BodyConfig(steps=20, batch=64), collect=CollectConfig(swings=40, shard=20)
)
HIGH = HighTraining(
    simulated=200,
    held=200,
    encoder=EncoderTraining(steps=2, chains=32),
    rally=RallyTraining(steps=2, chains=32),
)
LOW = LowRun(
    pairs=PairConfig(pairs=4000),
    level=LowTraining(steps=2, batch=32),
    proposal=ProposalTraining(hindsight_steps=1, energy_steps=1, batch=16),
    searched=SearchedConfig(motions=64, iterations=1),
    flight_steps=2,
    flight_batch=64,
    surprise=CalibrationConfig(strokes=8),
    body_steps=2,
    body_batch=48,
    polish_steps=2,
    polish_batches=2,
    settle_steps=2,
    refine_steps=1,
)
FLIGHTS = (200, 100)  # real and random ones that swings are paired with
TACTICS = TacticsTraining(steps=2)
CLONE = CloneTraining(steps=60, batch=64)
PLAYED = 4  # strokes played to learn from: by the classical agent for `bc`, by the robot for the cover and the observer
FIT_STEPS = 20  # of the cover and the observer
