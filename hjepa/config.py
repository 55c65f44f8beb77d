"""Typed, frozen configuration. A YAML file is only its written form: every key, default, unit and bound stands here.

`load("badminton")` reads a configuration that ships with the package, `load("my/run.yaml")` a file; both may be put
together from parts (hjepa.composition). A key is added with one line in its section; those of the low level are in
hjepa.config_low. All mistakes of a file are reported at once, each as `file:line: section.key: what is wrong`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import Field

from hjepa import __version__
from hjepa.composition import Change, Parts, compose, peek
from hjepa.config_low import LowSection
from hjepa.errors import ConfigError, nearest
from hjepa.plugins import found
from hjepa.typed_yaml import Problems, Read, Section, key, leaves, settle
from hjepa.yaml_file import shown

AgentName = Literal["hjepa", "reactive", "flat", "coded-goal", "classical", "bc", "oracle", "random"]
AGENTS = get_args(AgentName)
TWO_LEVELS = ("reactive", "coded-goal")  # rivals of the hierarchy with two levels, whatever it has
Shot = Literal[
    "short service", "long service", "net shot", "clear", "drop", "smash", "drive", "lob", "push/rush", "defensive shot"
]
COURTBOT_SHOTS = ("net shot", "drop", "lob", "defensive shot", "push/rush")  # too slow for smash, clear and drive
Depth = Annotated[float, Field(ge=0, le=6.7)]  # of half a court
Sideways = Annotated[float, Field(ge=-3.05, le=3.05)]
Height = Annotated[float, Field(ge=0, le=5)]
Flight = Annotated[float, Field(ge=0.1, le=5)]
Instant = Annotated[int, Field(ge=0, le=4000)]  # ms of an episode
Disturbed = Literal[
    "teleport", "vanish", "gravity", "net", "racket", "drag_off", "mass", "frozen", "reversal", "stuck", "bias", "burst"
]
SEEDS = 2**32 - 1


class RobotSection(Section):
    """Which body, and what moves it."""

    name: str = key("courtbot", "which robot, by its name in the catalogue; its limits are in its description")
    driver: Literal["pybullet", "mujoco"] = key("pybullet", "which physics moves it in the simulated court")


class DisturbanceSection(Section):
    """Something that cannot happen, or a fault of the tracker, in every stroke; see robots.sim.disturbance."""

    kind: Disturbed = key(
        "teleport", "what: the shuttle's (teleport ... reversal), or the tracker's (stuck, bias, burst)"
    )
    at_ms: int = key(300, "when, from the launch", unit="ms", ge=0, le=10_000)
    size: float = key(1.0, "how much: 1 is at the edge of what training has seen, 10 far beyond", gt=0, le=100)
    seed: int = key(0, "seeds directions, together with the stroke's", ge=0, le=SEEDS)


class WorldSection(Section):
    """What the simulated world is like. The agent is never told; the same names as robots.sim.world.WorldConfig."""

    drag_length_m: float = key(4.5759, "shuttle drag length L", unit="m", ge=0.5, le=20)
    restitution: float = key(0.55, "normal restitution of the racket face", unit="1", ge=0, le=1)
    tracker_noise_m: float = key(0.010, "standard deviation of a tracked position, per axis", unit="m", ge=0, le=0.5)
    tracker_delay_s: float = key(0.025, "age of a tracked position when it arrives", unit="s", ge=0, le=0.3)
    dropout: float = key(0.02, "share of tracker samples that never arrive", unit="1", ge=0, lt=1)
    joint_noise_rad: float = key(
        0.0001, "standard deviation of a joint position reading (rad or m)", unit="rad", ge=0, le=0.1
    )
    joint_noise_rad_s: float = key(
        0.002, "standard deviation of a joint velocity reading (rad/s or m/s)", unit="rad/s", ge=0, le=1
    )
    disturbance: DisturbanceSection | None = key(
        None, "something that cannot happen: {kind: teleport, at_ms: 400, size: 3}; null: nothing"
    )
    recover_s: float = key(0.9, "how long an episode lasts after the contact or the crossing", unit="s", ge=0, le=3)
    hidden_ms: tuple[tuple[Instant, Instant], ...] = key(
        (), "spans [from, to] after the launch in which the tracker sees nothing, in order and apart", unit="ms"
    )


class RandomFeed(Section):
    """Ranges from which `feed: random` draws uniformly, as in tasks.badminton.feeds; depths count from the net."""

    launch_depth_m: tuple[Depth, Depth] = key((0.5, 6.7), "where the shuttle leaves the opponent's racket", unit="m")
    launch_y_m: tuple[Sideways, Sideways] = key((-2.59, 2.59), "the same, sideways", unit="m")
    launch_z_m: tuple[Height, Height] = key((0.3, 2.8), "the same, height above the floor", unit="m")
    landing_depth_m: tuple[Depth, Depth] = key(
        (0.8, 6.7), "where it would meet the floor in the robot's half", unit="m"
    )
    landing_y_m: tuple[Sideways, Sideways] = key((-2.59, 2.59), "the same, sideways", unit="m")
    flight_s: tuple[Flight, Flight] = key((0.8, 1.8), "launch to floor", unit="s")
    speed_max_m_s: float = key(100.0, "faster launches are drawn again", unit="m/s", gt=0, le=200)


class TaskSection(Section):
    """What is played, how often, from which start."""

    name: Literal["badminton"] = key("badminton", "which task this configuration is of")
    feed: Literal["test", "val", "train", "random"] = key("test", "real strokes of these matches, or random ones")
    feed_csv: str = key("", "a file of own feeds instead: id,type,x0,y0,z0,vx,vy,vz[,rx,ry]")
    strokes: int = key(20, "how many strokes are played", ge=1, le=1_000_000)
    seed: int = key(0, "seeds the choice of strokes, the world and the agent", ge=0, le=SEEDS)
    start: Literal["receiver", "carried"] = key(
        "receiver", "each stroke starts where the real receiver stood, or where the last stroke left the robot"
    )
    random: RandomFeed = RandomFeed()


class LowSizes(Section):
    """Sizes of the low level, chosen when it is trained; see models.low.LowConfig."""

    latent: int | None = key(None, "features in its state; null: as trained, 96 when training", ge=8, le=1024)
    outcome: int | None = key(None, "embedding of what follows contact; null: as trained, or 32", ge=4, le=512)
    width: int | None = key(None, "hidden units of its networks; null: as trained, or 144", ge=16, le=2048)
    depth: int | None = key(None, "layers of its networks; null: as trained, or 3", ge=1, le=12)


class HighSizes(Section):
    """Sizes of the high level, chosen when it is trained; see models.high.HighConfig."""

    latent: int | None = key(None, "embedding of a stroke, in which goals live; null: as trained, or 16", ge=4, le=512)
    action: int | None = key(None, "embedded macro-action (type, place, tempo); null: as trained, or 6", ge=2, le=64)
    codes: int | None = key(None, "macro-actions in its codebook; null: as trained, or 96", ge=8, le=4096)
    replies: int | None = key(None, "answers of the opponent that it tells apart; null: as trained, or 8", ge=1, le=64)
    width: int | None = key(None, "hidden units of its networks; null: as trained, or 128", ge=16, le=2048)
    depth: int | None = key(None, "layers of its networks; null: as trained, or 3", ge=1, le=12)


class RallySizes(Section):
    """Sizes of the rally level, chosen when it is trained; see models.rally.RallyConfig."""

    latent: int | None = key(None, "embedding of a rally so far; null: as trained, or 64", ge=8, le=512)
    action: int | None = key(None, "embedded macro-action; null: as trained, or 6", ge=2, le=64)
    memory: int | None = key(None, "recurrent units; null: as trained, or 96", ge=8, le=1024)
    width: int | None = key(None, "hidden units of its networks; null: as trained, or 64", ge=8, le=2048)


class LevelsSection(Section):
    """The hierarchy: how many levels, and how large each is. When each decides stands in `low` and `high`."""

    count: int = key(
        2,
        "1: shot and swing in one search; 2: high decides at strokes, low all the time; 3: a rally level above",
        ge=1,
        le=3,
    )
    low: LowSizes = LowSizes()
    high: HighSizes = HighSizes()
    rally: RallySizes = RallySizes()


class HighWeightsSection(Section):
    """Weights of the terms of the high level's energy, as in planning.hierarchy."""

    win: float = key(1.0, "log-odds of winning the rally after the opponent's reply", ge=0, le=1000)
    support: float = key(1.0, "log-probability that a real player answers with this here", ge=0, le=1000)
    name: float = key(2.0, "log-probability that the shot is what it is called", ge=0, le=1000)
    reach: float = key(0.15, "the low level's energy for the candidate goal", ge=0, le=1000)
    mixing: float = key(1.0, "Gumbel noise: a mixed strategy; 0: always the least energy", ge=0, le=1000)


class HighSection(Section):
    """The high level's decision, at an event (a stroke comes, `samples` of it seen), as in planning.hierarchy."""

    latency_ms: int = key(40, "planning time charged to the clock in lockstep", unit="ms", ge=0, le=2000)
    shots: tuple[Shot, ...] = key(COURTBOT_SHOTS, "types that the robot can play; empty: all")
    candidates: int = key(16, "macro-actions weighed per decision", ge=1, le=10_000)
    shortlist: int = key(8, "of the macro-actions, cheapest first: the low level is asked about these", ge=1, le=10_000)
    samples: int = key(6, "tracker samples of the incoming flight before anything is decided", ge=6, le=40)
    prior_floor: float = key(
        0.003, "macro-actions less probable than this are outside the support", unit="1", ge=0, lt=1
    )
    in_support: bool = key(True, "search among what real players answer with; false: any type, place and tempo")
    margin_m: float = key(0.45, "targets lie this far inside the lines", unit="m", ge=0, lt=2)
    behind_net_m: float = key(0.60, "targets lie this far behind the net", unit="m", ge=0, lt=6)
    net_margin_m: float = key(0.10, "predicted height over the tape", unit="m", ge=0, le=2)
    name_floor: float = key(0.5, "least probability that the shot is what it is called", unit="1", ge=0, lt=1)
    feint: bool = key(
        False, "where a shot goes shows only 0.16 s before the contact: until then it was to go elsewhere"
    )
    weights: HighWeightsSection = HighWeightsSection()


class AgentSection(Section):
    """Who plays, with which weights."""

    name: AgentName = key("hjepa", "hjepa, or a baseline")
    weights: str = key("", "folder with other trained weights; empty: those that ship with the package")


class RunSection(Section):
    """What time is."""

    clock: Literal["lockstep", "realtime"] = key("lockstep", "deterministic simulated time, or nobody waits")


class Config(Section):
    """A whole configuration."""

    robot: RobotSection = RobotSection()
    world: WorldSection = WorldSection()
    task: TaskSection = TaskSection()
    levels: LevelsSection = LevelsSection()
    low: LowSection = LowSection()
    high: HighSection = HighSection()
    agent: AgentSection = AgentSection()
    run: RunSection = RunSection()


GROUPS = {
    "task": ("task", "world"),
    "robot": ("robot",),
    "levels": ("levels", "agent", "high"),
    "planner": ("low",),
    "run": ("run",),
}
"""Folders of parts in configs/, and the sections that each may hold."""


def resource(folder: str, name: str = "") -> Path:
    """Path of a shipped file; `folder` is configs or launch: beside the package in a checkout, else inside it."""
    package = Path(__file__).parent
    beside = package.parent / folder
    in_checkout = (package.parent / "pyproject.toml").is_file() and beside.is_dir()
    return (beside if in_checkout else package / "_share" / folder) / name


def names() -> list[str]:
    """Configurations that ship with the package."""
    return sorted(path.stem for path in resource("configs").glob("*.yaml"))


def load(name_or_file: str | Path, overrides: Sequence[str] = (), files: Sequence[Change] = ()) -> Config:
    """Configuration by name or file; over it `files` that hold what differs, then overrides of the form
    `low.iterations=4` (the value is YAML)."""
    value: Config = trace(Config, find(name_or_file), [*files, *overrides]).value
    return value


def trace(model: type[Section], path: Path, changes: Sequence[Change] = ()) -> Read:
    """The value of a configuration's file for a task's model, and where each key was set."""
    composed = compose(path, changes, parts())
    return settle(model, composed.draft, shown(path), _check, composed.layers)


def parts() -> Parts:
    """Where parts of configurations lie, and what each may hold."""
    return Parts(resource("configs"), GROUPS)


def dump(config: Section) -> str:
    """The resolved configuration as YAML, every key with its value; `load` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def resolved(config: Section, command: Sequence[str]) -> str:
    """The same for an output's folder (config.yaml), with the version and the words of the command that made it."""
    said = " ".join(shlex.join([Path(command[0]).name, *command[1:]] if command else []).split())
    return f"# hjepa {__version__}: {said}\n{dump(config)}"


def task_name(name_or_file: str | Path, changes: Sequence[Change] = ()) -> str:
    """The task that a configuration is of; badminton where it does not say so."""
    named = peek(find(name_or_file), "task.name", changes, parts())
    return named if isinstance(named, str) else TaskSection().name


def _check(config: Section) -> Problems:
    """What no key of badminton's has wrong by itself."""
    if not isinstance(config, Config):
        return
    for at, _, value in leaves(config.task.random, ("task", "random")):
        if isinstance(value, tuple) and value[0] > value[1]:
            yield at, f"must be a range, the lower end first, got {list(value)}"
    hidden = [edge for span in config.world.hidden_ms for edge in span]
    if any(a >= b for a, b in config.world.hidden_ms) or hidden != sorted(hidden):
        said = [list(span) for span in config.world.hidden_ms]
        yield ("world", "hidden_ms"), f"must be spans [from, to] of ms, in order and apart, got {said}"
    if config.agent.name in TWO_LEVELS and config.levels.count != 2:
        yield ("levels", "count"), f"must be 2 for agent '{config.agent.name}', got {config.levels.count}"


def find(name_or_file: str | Path) -> Path:
    """The file of a configuration by name, or by path; ConfigError lists the names.

    A package that brings a task may bring its configuration: NAME.yaml beside the task's module.
    """
    text = str(name_or_file)
    is_file = isinstance(name_or_file, Path) or text.endswith((".yaml", ".yml")) or os.sep in text
    path = Path(text) if is_file else resource("configs", f"{text}.yaml")
    if not path.is_file() and not is_file:
        brought = found("hjepa.tasks", names())
        plugin = brought.get(text)
        path = path if plugin is None else plugin.beside(f"{text}.yaml")
    if not path.is_file():
        known = names() if is_file else {*names(), *brought.plugins}
        hint = "give an existing .yaml file" if is_file else f"{nearest(text, known)}; or a path to a .yaml file"
        raise ConfigError(f"no configuration '{text}': {hint}")
    return path
