"""The configuration of the task `reach`: every key, default, unit and bound."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hjepa.typed_yaml import Section, key

SEEDS = 2**32 - 1
Half = Annotated[float, Field(ge=0, le=1)]


class RobotSection(Section):
    """Which arm."""

    name: str = key("panda", "which fixed-base arm, by its description; panda and iiwa have trained weights")


class WorldSection(Section):
    """What the simulated world is like; the same names as robots.sim.reach.ReachConfig."""

    tracker_noise_m: float = key(0.002, "standard deviation of a tracked position, per axis", unit="m", ge=0, le=0.5)
    tracker_delay_s: float = key(0.025, "age of a tracked position when it arrives", unit="s", ge=0, le=0.3)
    dropout: float = key(0.02, "share of tracker samples that never arrive", unit="1", ge=0, lt=1)
    joint_noise_rad: float = key(0.0001, "standard deviation of a joint position reading", unit="rad", ge=0, le=0.1)
    joint_noise_rad_s: float = key(0.002, "standard deviation of a joint velocity reading", unit="rad/s", ge=0, le=1)


class TaskSection(Section):
    """What the target does."""

    name: Literal["reach"] = key("reach", "which task this configuration is of")
    seconds: float = key(20.0, "how long the target is followed", unit="s", gt=0, le=600)
    speed_m_s: float = key(0.2, "speed of the target along its path", unit="m/s", ge=0, le=1)
    path: Literal["", "circle", "eight", "wander"] = key("", "shape of the path; empty: drawn with the seed")
    half_m: tuple[Half, Half, Half] = key(
        (0.08, 0.16, 0.12), "half the box around the tool at home in which the target moves (x, y, z)", unit="m"
    )
    seed: int = key(0, "seeds the path and the noise", ge=0, le=SEEDS)


class LowSection(Section):
    """The level's search, as in planning.follow."""

    replan_period_ms: int = key(
        40, "time between two plans, whole 10 ms ticks", unit="ms", ge=10, le=1000, multiple_of=10
    )
    latency_ms: int = key(20, "planning time charged to the clock", unit="ms", ge=0, le=2000)
    budget_ms: int = key(15, "realtime: no iteration is begun that would end later than this", unit="ms", ge=1, le=2000)
    chunks: int = key(2, "actions planned ahead, 100 ms each", ge=1, le=4)
    planner: Literal["gradient", "cem", "icem", "mppi"] = key(
        "gradient", "the search: Gauss-Newton, or one that samples"
    )
    iterations: int = key(10, "iterations of a plan", ge=1, le=1000)
    candidates: int = key(128, "cem, icem, mppi: motions drawn per iteration", ge=2, le=100_000)
    elites: int = key(12, "cem, icem, mppi: best candidates kept per iteration", ge=2, le=100_000)
    valid_ms: int = key(300, "how long a command may be followed without a newer one", unit="ms", ge=50, le=10_000)
    tolerance: float = key(0.05, "distance of the predicted from the wanted glimpse that costs 1/2", gt=0, le=10)
    effort: float = key(1.0, "weight of the share of the joints' acceleration used", ge=0, le=1000)
    posture: float = key(0.4, "weight of the joints' distance from home", ge=0, le=1000)
    limits: float = key(1.0, "weight of joint speed, acceleration and range beyond their limits", ge=0, le=1000)
    support: float = key(3.0, "weight of postures outside those babbled", ge=0, le=1000)


class BabbleSection(Section):
    """Motor babbling, as in training.babble."""

    minutes: int = key(24, "length of the recordings, in the robot's time", unit="min", ge=2, le=100_000)
    seed: int = key(0, "seeds the motions", ge=0, le=SEEDS)


class TrainSection(Section):
    """Training, as in training.babbled."""

    steps: int = key(3000, "steps of encoders and predictors together", ge=1, le=10_000_000)
    settle_steps: int = key(9000, "steps of the predictors alone, the encoders held still", ge=1, le=10_000_000)
    watch_steps: int = key(3000, "steps of watching targets", ge=1, le=10_000_000)
    paths: int = key(400, "targets watched", ge=1, le=10_000_000)


class AgentSection(Section):
    """Who follows, with which weights."""

    name: Literal["hjepa", "still", "resolved-rate"] = key("hjepa", "hjepa; or still, or resolved-rate: told the truth")
    weights: str = key("", "folder with other trained weights; empty: those that ship with the package")


class RunSection(Section):
    """What time is."""

    clock: Literal["lockstep", "realtime"] = key("lockstep", "deterministic simulated time, or nobody waits")


class ReachSettings(Section):
    """A whole configuration of the task."""

    robot: RobotSection = RobotSection()
    world: WorldSection = WorldSection()
    task: TaskSection = TaskSection()
    low: LowSection = LowSection()
    babble: BabbleSection = BabbleSection()
    train: TrainSection = TrainSection()
    agent: AgentSection = AgentSection()
    run: RunSection = RunSection()
