"""What each node is built from, when robot and levels run as processes of their own: plain JSON values in, object out.

Each function imports what it needs and no more: the robot's process holds no torch, the levels' hold no simulator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hjepa.bus.processes import NodeSpec
from hjepa.config import Config

if TYPE_CHECKING:
    from hjepa.planning.hierarchy import HighPlanner
    from hjepa.planning.stroke_planner import StrokePlanner
    from robots.sim.world import SimulatedCourt, WorldConfig


def node_specs(config: Config, gui: bool = False) -> dict[str, NodeSpec]:
    """How each node of a configuration's graph is built in a process of its own."""
    text = config.model_dump_json()
    return {
        "driver": NodeSpec("hjepa.factories:make_world", {"config": text, "gui": gui}),
        "high": NodeSpec("hjepa.factories:make_high", {"config": text}),
        "low": NodeSpec("hjepa.factories:make_low", {"config": text}),
    }


def build_world(config: Config, gui: bool = False, record: bool = False, speed_share: float = 1.0) -> SimulatedCourt:
    """The simulated court of a configuration, not connected yet; RobotError names a simulator that is not installed.

    speed_share: of the robot's speed and acceleration limits.
    """
    from robots.catalog import make_driver
    from robots.sim.world import SimulatedCourt

    options = {"config": world_settings(config), "gui": gui, "record": record}
    made = make_driver(config.robot.driver, config.robot.name, speed_share=speed_share, **options)
    assert isinstance(made, SimulatedCourt)
    return made


def world_settings(config: Config) -> WorldConfig:
    """What the configuration says of the simulated world, as the simulator takes it."""
    from robots.sim.disturbance import Disturbance
    from robots.sim.world import WorldConfig

    hidden = tuple((start / 1e3, end / 1e3) for start, end in config.world.hidden_ms)
    odd, values = config.world.disturbance, config.world.model_dump(exclude={"hidden_ms", "disturbance"})
    disturbance = None if odd is None else Disturbance(odd.kind, odd.at_ms / 1e3, odd.size, odd.seed)
    return WorldConfig(hidden=hidden, disturbance=disturbance, **values)


def make_world(config: str, gui: bool = False, speed_share: float = 1.0) -> SimulatedCourt:
    """The driver; `config` as Config.model_dump_json() writes it."""
    return build_world(Config.model_validate_json(config), gui, record=True, speed_share=speed_share)


def make_high(config: str) -> HighPlanner:
    """The high level of the agent that the configuration names."""
    from hjepa import build

    parsed = Config.model_validate_json(config)
    build.use_one_thread()
    return build.build_high(parsed, parsed.agent.name)


def make_low(config: str) -> StrokePlanner:
    """The low level of the agent that the configuration names."""
    from hjepa import build
    from robots.spec import load_spec

    parsed = Config.model_validate_json(config)
    build.use_one_thread()
    return build.build_low(parsed, load_spec(parsed.robot.name), parsed.agent.name)
