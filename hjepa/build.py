"""Levels and agents from a configuration and trained weights. No simulator is imported here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from hjepa import stroke
from hjepa.agent import HierarchicalAgent
from hjepa.config import AGENTS, Config
from hjepa.errors import ConfigError, WeightsError, nearest
from hjepa.evaluation.baselines import ClassicalAgent, ClassicalConfig, Decode, OracleAgent, RandomAgent, Truth
from hjepa.models.checkpoint import check_robot
from hjepa.models.cloned import ClonedAgent, load_clone
from hjepa.models.cover import load_cover
from hjepa.models.flight import FlightMemory
from hjepa.models.high import HighModel, load_high
from hjepa.models.layers import for_search
from hjepa.models.low import LowBundle, LowLevel, load_low
from hjepa.models.observer import load_observer
from hjepa.models.rally import RallyModel, load_rally
from hjepa.models.surprise import FlightSurprise
from hjepa.onlooker import Onlooker
from hjepa.planning.anticipation import Anticipation, AnticipationConfig
from hjepa.planning.body import Body, body_of
from hjepa.planning.captured import captured
from hjepa.planning.context import SlowContext
from hjepa.planning.feint import FeintPlanner
from hjepa.planning.flat import FlatAgent
from hjepa.planning.held import limits_of
from hjepa.planning.hierarchy import HighPlanConfig, HighPlanner
from hjepa.planning.objectives import Limits, LowWeights, PointGoal
from hjepa.planning.programs import Function, LowPrograms, plain, record, recorded
from hjepa.planning.reacting import ReactConfig, Reacting, Step
from hjepa.planning.searches import make_planner
from hjepa.planning.searching import LowPlanConfig
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.planning.surprise import Watcher
from hjepa.planning.tactics import Tactician, TacticsConfig
from hjepa.planning.told import Ask, ToldTactician
from hjepa.protocols import Agent
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import Goal, RobotSpec
from robots.capsules import capsules
from robots.spec import load_spec

HIERARCHICAL = ("hjepa", "reactive", "coded-goal")  # two levels that may be nodes of their own
LEARNED = (*HIERARCHICAL, "flat")  # both levels' weights
# terms of the low level's energy that guard: low.guards switches them all, their weights in low.weights each
GUARDS = ("net", "limits", "support", "self_contact", "net_contact", "keep_out", "racket_speed")
RANDOM_EVENT_S = (0.4, 1.2)  # when a random stroke comes, from its decision
WAITING = AnticipationConfig(step_m=0.5, replies=96)  # in a rally a place is chosen within 40 ms
LATE = 16  # places that a feint chooses from
FILES = {name: f"{name}.safetensors" for name in ("low", "high", "rally", "cover", "observer", "bc")}


def use_one_thread() -> None:
    """The networks are small: more threads are slower, and lockstep runs of a seed must be bit-identical."""
    torch.set_num_threads(1)


def weights_path(config: Config, name: str) -> Path:
    """Where the weights of a level, or of `bc`, are looked for."""
    return Path(config.agent.weights) / FILES[name] if config.agent.weights else shipped(name)


@cache
def _low(path: Path) -> LowBundle:
    return load_low(path)


@cache
def load_rally_level(path: Path) -> RallyModel:
    """The rally level; WeightsError if its weights are missing or damaged."""
    return load_rally(path)


@cache
def _high(path: Path) -> HighModel:
    return load_high(path)


def shipped(name: str) -> Path:
    """The weights that come with the package."""
    return Path(__file__).parent / "weights" / FILES[name]


def low_bundle(config: Config, spec: RobotSpec) -> LowBundle:
    """The low level's weights; WeightsError if they are missing, damaged or another robot's."""
    path = weights_path(config, "low")
    bundle = _low(path)
    check_robot(path, bundle.header, spec, "hjepa train low")
    check_sizes(config, "low", path, bundle.level.config)
    return bundle


def high_model(config: Config) -> HighModel:
    """The high level's weights; WeightsError if they are missing, damaged or of other sizes."""
    path = weights_path(config, "high")
    model = _high(path)
    check_sizes(config, "high", path, model.config)
    return model


def check_sizes(config: Config, name: str, path: Path, trained: Any) -> None:
    """WeightsError unless weights have the sizes that the configuration names; trained: the sizes they have."""
    for size, wanted in getattr(config.levels, name).model_dump(exclude_none=True).items():
        got = getattr(trained, size)
        if wanted != got:
            raise WeightsError(
                f"'{path}' was trained with {size} {got}, levels.{name}.{size} is {wanted}: train again with "
                f"`hjepa train {name}`, name other weights in agent.weights, or leave the key out"
            )


def low_weights(config: Config) -> LowWeights:
    """Weights of the low level's energy; without guards, nothing is paid for what they watch."""
    weights = LowWeights(**config.low.weights.model_dump())
    return weights if config.low.guards else replace(weights, **dict.fromkeys(GUARDS, 0.0))


def high_settings(config: Config, name: str = "hjepa") -> HighPlanConfig:
    """What the high level is told: `reactive` takes the best of its prior."""
    c, model = config.high, high_model(config)
    weights = c.weights.model_dump()
    count = min(c.candidates, len(model.codebook))
    if name == "reactive":
        count, weights = 1, dict.fromkeys(weights, 0.0) | {"support": 1.0}
    plain = c.model_dump(exclude={"latency_ms", "weights", "candidates", "feint"})
    return HighPlanConfig(
        late=LATE if c.feint else 0,
        candidates=count,
        latency_s=c.latency_ms / 1e3,
        window=model.config.window,
        **plain,
        **weights,
    )


def build_high(config: Config, name: str = "hjepa") -> HighPlanner:
    """The high level as `name` has it."""
    return HighPlanner(high_model(config), TYPES, high_settings(config, name))


def build_tactician(config: Config, spec: RobotSpec, tactics: TacticsConfig, ask: Ask | None = None) -> Tactician:
    """The high level that knows the rally, and, if it may ask, what the opponent will answer; WeightsError if the cover
    level's weights are another robot's."""
    path = weights_path(config, "cover")
    bundle = load_cover(path)
    check_robot(path, bundle.header, spec, "hjepa train cover")
    play = load_rally_level(weights_path(config, "rally"))
    check_sizes(config, "rally", weights_path(config, "rally"), play.config)
    settings = replace(high_settings(config), win=tactics.win)
    anticipation, model = Anticipation(bundle.cover, WAITING), high_model(config)
    parts: dict[str, Any] = {"play": play, "anticipation": anticipation, "errs": bundle.risk, "tactics": tactics}
    if ask is not None:
        return ToldTactician(model, TYPES, settings, ask=ask, **parts)
    return Tactician(model, TYPES, settings, **parts)


def watcher(bundle: LowBundle) -> Watcher:
    """What the low level's surprise is told by; WeightsError where its weights were never calibrated."""
    if not bundle.normal:
        raise WeightsError("the low level's weights do not say how surprising normal play is: `hjepa train low` again")
    unlikely = _unlikely_here(bundle.level.encoder.memory)
    return Watcher(unlikely, {cause: scores.numpy() for cause, scores in bundle.normal.items()})


_WATCHED: WeakKeyDictionary[FlightMemory, Function] = WeakKeyDictionary()


def _unlikely_here(memory: FlightMemory) -> Function:
    """How unlikely a memory finds a window, recorded once for each that is loaded, as `_made_here` does."""
    if memory not in _WATCHED:
        window = len(memory.age)
        _WATCHED[memory] = record(FlightSurprise(memory).eval(), (torch.zeros(1, window, 3), torch.ones(1, window)))
    return _WATCHED[memory]


def build_low(
    config: Config,
    spec: RobotSpec,
    name: str = "hjepa",
    programs: LowPrograms | None = None,
    device: str = "cpu",
) -> StrokePlanner:
    """The low level as `name` has it: `reactive` does not search, `coded-goal` aims at a point.

    programs: what it computes (None: recorded here, which takes a second).
    """
    c, bundle = config.low, low_bundle(config, spec)
    settings = LowPlanConfig(
        latency_s=c.latency_ms / 1e3,
        goal_latency_s=config.high.latency_ms / 1e3,
        reach_iterations=c.reach_iterations,
        first_starts=c.first_starts,
        first_iterations=c.first_iterations,
        starts=c.starts,
        iterations=c.iterations,
        accept_margin=c.accept_margin,
        alarm_energy=c.alarm_energy,
        lost_energy=c.surprise.lost_energy,
        freeze_s=c.freeze_ms / 1e3,
        valid_s=c.valid_ms / 1e3,
        most=c.most,
        budget_s=c.budget_ms / 1e3 if config.run.clock == "realtime" else None,
        search=name != "reactive",
    )
    level, limits = for_search(bundle.level).to(device), limits_of(spec, torch.device(device))
    planner = make_planner(c.planner, c.candidates, c.elites)
    term = _coded if name == "coded-goal" else None
    weights, flop = low_weights(config), candidate_flop(bundle.level)
    context = SlowContext(level, bundle.doubt.to(device)) if c.adapt and level.config.context else None
    body = own_body(config, spec, device)
    known = (weights_path(config, "low"), spec.fingerprint, device, c.racket_speed_max_m_s)
    made = programs or _made_here(known, level, limits, spec.joints, body)
    watching = watcher(bundle) if c.surprise.enabled and bundle.normal else None
    reacting = Reacting(watching, level, spec, react_config(config))
    mode_1 = for_search(bundle.proposal).to(device)
    parts = (level, mode_1, spec, settings, weights, planner, term, flop, context, made, body, reacting)
    if not config.high.feint:
        return StrokePlanner(*parts)
    return FeintPlanner(*parts, observer=onlooker(config, spec))


def own_body(config: Config, spec: RobotSpec, device: str = "cpu") -> Body:
    """The robot's geometry as the low level plans with it."""
    return body_of(spec, capsules(spec), config.low.racket_speed_max_m_s, torch.device(device))


def react_config(config: Config) -> ReactConfig:
    """What is done about surprise."""
    c = config.low.surprise
    steps = (c.replan_p, c.replan_looks), (c.mode1_p, c.mode1_looks), (c.abandon_p, c.abandon_looks)
    ladder = tuple(Step(p, looks) for p, looks in (*steps, (c.hold_p, c.hold_looks)))
    return ReactConfig(ladder, c.calm_looks, tuple(c.reactions))


_MADE: dict[tuple[Path, str, str, float], LowPrograms] = {}


def _made_here(
    known: tuple[Path, str, str, float], level: LowLevel, limits: Limits, joints: int, body: Body
) -> LowPrograms:
    """Programs without a bundle: recorded on the CPU, captured as graphs on a GPU; once for a level, robot and device,
    since TorchScript never gives back what it has recorded."""
    if known not in _MADE:
        on_cpu = level.codec.low.device.type == "cpu"
        made = recorded(level, limits, joints, body) if on_cpu else captured(plain(level, limits, body))
        _MADE[known] = made
    return _MADE[known]


def onlooker(config: Config, spec: RobotSpec) -> Onlooker:
    """Who watches the robot; WeightsError if its weights are missing, damaged or another robot's."""
    path = weights_path(config, "observer")
    bundle = load_observer(path)
    check_robot(path, bundle.header, spec, "hjepa train observer")
    return Onlooker(bundle.observer, spec)


def _coded(goal: Goal) -> PointGoal:
    return PointGoal(torch.from_numpy(goal.target_xy_m).float()[None])


def candidate_flop(level: LowLevel) -> float:
    """Operations to score one candidate: two for each weight that is touched."""
    parts = (level.action, level.predictor, level.bridge, level.heads)  # the action holds the motor codec
    return 2.0 * sum(p.numel() for part in parts for p in part.parameters())


def timing_of(config: Config) -> ClassicalConfig:
    """When agents of one level decide."""
    return ClassicalConfig(latency_s=config.low.latency_ms / 1e3)


def build_agent(config: Config, name: str, truth: Truth) -> Agent:
    """An agent by name; `truth` is asked by the oracle alone. hjepa has as many levels as the configuration says."""
    spec, timing = load_spec(config.robot.name), timing_of(config)
    makers: dict[str, Callable[[], Agent]] = {
        **{n: lambda: HierarchicalAgent(build_high(config, name), build_low(config, spec, name)) for n in HIERARCHICAL},
        "flat": lambda: FlatAgent(build_high(config), build_low(config, spec)),
        "classical": lambda: ClassicalAgent(spec, timing),
        "bc": lambda: ClonedAgent(spec, load_clone(weights_path(config, "bc"), spec), timing.latency_s),
        "oracle": lambda: OracleAgent(spec, truth, timing),
        "random": lambda: RandomAgent(spec, random_events(low_bundle(config, spec)), timing),
    }
    if name not in makers:
        raise ConfigError(f"unknown agent '{name}': {nearest(name, AGENTS)}")
    if name in LEARNED:
        check_pair(config, spec)
    if name != "hjepa" or config.levels.count == 2:
        return makers[name]()
    if config.levels.count == 1:
        return makers["flat"]()
    raise ConfigError("levels.count is 3: the rally level plays rallies, with `hjepa match`; for single strokes: 1, 2")


def two_levels(config: Config) -> bool:
    """Whether the configured agent has a high and a low level, which may be nodes on the bus."""
    return config.agent.name in HIERARCHICAL and config.levels.count == 2


def check_pair(config: Config, spec: RobotSpec) -> None:
    """The two levels must share the space that goals live in."""
    low, high = low_bundle(config, spec).level.config.goal, high_model(config).config.latent
    if low != high:
        raise WeightsError(
            f"'{weights_path(config, 'low')}' was trained for goals of {low} numbers, "
            f"'{weights_path(config, 'high')}' gives {high}: train the low level again"
        )


def random_events(bundle: LowBundle) -> Decode:
    """Motor latents as in the data: whitened, so normal, within the data's box."""
    codec = bundle.level.codec
    low, high = codec.low.numpy(), codec.high.numpy()

    def draw(rng: np.random.Generator) -> stroke.Event:
        m = rng.normal(size=len(low)).clip(low, high)
        with torch.no_grad():
            event = codec.decode(torch.from_numpy(m).float()[None])
        q, dq, before = (part[0].double().numpy() for part in event)
        return stroke.Event(q, dq, before, float(rng.uniform(*RANDOM_EVENT_S)))

    return draw
