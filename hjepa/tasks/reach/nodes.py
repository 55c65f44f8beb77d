"""What the nodes of the task are built from: a configuration as JSON in, an object out.

Each function imports what it needs and no more: the robot's process holds no torch, the levels' hold no simulator.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hjepa
from hjepa.errors import WeightsError
from hjepa.tasks.reach.settings import ReachSettings
from hjepa.types import RobotSpec

if TYPE_CHECKING:
    from hjepa.models.babbled import BabbledLevel
    from hjepa.planning.follow import Ahead, FollowConfig, FollowPlanner
    from robots.sim.reach import ReachWorld

TRAIN = "hjepa train low reach"


def make_world(config: str, gui: bool = False) -> ReachWorld:
    """The arm and its target, not connected yet; RobotError names a simulator that is not installed."""
    from robots.catalog import driver_class
    from robots.spec import load_spec

    c = ReachSettings.model_validate_json(config)
    world = driver_class("pybullet-reach")
    task = c.task.model_dump(include={"seconds", "speed_m_s", "path", "half_m"})
    settings = world.settings(**task, **c.world.model_dump())
    made: ReachWorld = world(load_spec(c.robot.name), settings, gui=gui)
    return made


def make_high(config: str) -> Ahead:
    """The source of goals: where the target will be seen."""
    from hjepa.planning.follow import Ahead

    c = ReachSettings.model_validate_json(config)
    return Ahead(level(c)[0], follow_config(c))


def make_low(config: str) -> FollowPlanner:
    """The level that finds the motion."""
    from hjepa.planning.follow import FollowPlanner
    from hjepa.planning.searches import make_planner
    from robots.spec import load_spec

    c = ReachSettings.model_validate_json(config)
    planner = make_planner(c.low.planner, c.low.candidates, c.low.elites, horizon=c.low.chunks)
    return FollowPlanner(level(c)[0], load_spec(c.robot.name), planner, follow_config(c))


def weights_path(config: ReachSettings) -> Path:
    """Where the weights for the configuration's robot are looked for."""
    folder = Path(config.agent.weights) if config.agent.weights else Path(hjepa.__file__).parent / "weights"
    return folder / f"reach-{config.robot.name}.safetensors"


def level(config: ReachSettings) -> tuple[BabbledLevel, dict[str, Any]]:
    """The trained level of the configuration's robot and its header; WeightsError if missing or another robot's."""
    import torch

    from hjepa.models.checkpoint import check_robot
    from robots.spec import load_spec

    torch.set_num_threads(1)
    spec: RobotSpec = load_spec(config.robot.name)
    path = weights_path(config)
    if not path.exists():
        raise WeightsError(
            f"no weights at '{path}': babble and train with `hjepa collect reach --robot {spec.name}` and "
            f"`{TRAIN} --robot {spec.name}`, or name their folder with --set agent.weights=FOLDER"
        )
    found, header = _loaded(path)
    check_robot(path, header, spec, f"{TRAIN} --robot {spec.name}")
    return found, header


@cache
def _loaded(path: Path) -> tuple[BabbledLevel, dict[str, Any]]:
    from hjepa.models.babbled import load_babbled

    return load_babbled(path)


def follow_config(config: ReachSettings) -> FollowConfig:
    """The planner's settings."""
    from hjepa.planning.follow import FollowConfig

    c = config.low
    return FollowConfig(
        latency_s=c.latency_ms / 1e3,
        chunks=c.chunks,
        iterations=c.iterations,
        valid_s=c.valid_ms / 1e3,
        tolerance=c.tolerance,
        effort=c.effort,
        posture=c.posture,
        limits=c.limits,
        support=c.support,
        budget_s=c.budget_ms / 1e3 if config.run.clock == "realtime" else None,
    )
