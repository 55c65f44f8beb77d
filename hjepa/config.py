"""Typed, frozen configuration. A YAML file is only its written form: every key, default, unit and bound stands here.

`load("badminton")` reads a configuration that ships with the package, `load("my/run.yaml")` a file. A key is added with
one line in its section. All mistakes of a file are reported at once, each as `file:line: section.key: what is wrong`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hjepa.errors import ConfigError, nearest

AGENTS = ("hjepa", "reactive", "flat", "coded-goal", "classical", "bc", "oracle", "random")
AgentName = Literal["hjepa", "reactive", "flat", "coded-goal", "classical", "bc", "oracle", "random"]
Range = tuple[float, float]
COURTBOT_SHOTS = ("net shot", "drop", "lob", "defensive shot", "push/rush")  # too slow for smash, clear and drive


def key(default: Any, meaning: str, **bounds: Any) -> Any:
    """One configuration key: default, meaning (shown by `hjepa config`), and pydantic bounds (gt, ge, lt, le...)."""
    return Field(default, description=meaning, **bounds)


class Section(BaseModel):
    """Frozen; refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RobotSection(Section):
    name: str = key("courtbot", "which robot, by its name in the catalogue; its limits are in its description")
    driver: Literal["pybullet", "mujoco"] = key("pybullet", "which physics moves it in the simulated court")


class WorldSection(Section):
    """What the simulated world is like. The agent is never told; the same names as robots.sim.world.WorldConfig."""

    drag_length_m: float = key(4.5759, "shuttle drag length L", gt=0)
    restitution: float = key(0.55, "normal restitution of the racket face", ge=0, le=1)
    tracker_noise_m: float = key(0.010, "standard deviation of a tracked position, per axis", ge=0)
    tracker_delay_s: float = key(0.025, "age of a tracked position when it arrives", ge=0, le=0.3)
    dropout: float = key(0.02, "share of tracker samples that never arrive", ge=0, lt=1)
    joint_noise_rad: float = key(0.0001, "standard deviation of a joint position reading (rad or m)", ge=0)
    joint_noise_rad_s: float = key(0.002, "standard deviation of a joint velocity reading (rad/s or m/s)", ge=0)
    recover_s: float = key(0.9, "how long an episode lasts after the contact or the crossing", ge=0, le=3)


class RandomFeed(Section):
    """Ranges from which `feed: random` draws uniformly, as in tasks.badminton.feeds; depths count from the net."""

    launch_depth_m: Range = key((0.5, 6.7), "where the shuttle leaves the opponent's racket")
    launch_y_m: Range = key((-2.59, 2.59), "the same, sideways")
    launch_z_m: Range = key((0.3, 2.8), "the same, height above the floor")
    landing_depth_m: Range = key((0.8, 6.7), "where it would meet the floor in the robot's half")
    landing_y_m: Range = key((-2.59, 2.59), "the same, sideways")
    flight_s: Range = key((0.8, 1.8), "launch to floor")
    speed_max_m_s: float = key(100.0, "faster launches are drawn again", gt=0)


class TaskSection(Section):
    feed: Literal["test", "val", "train", "random"] = key("test", "real strokes of these matches, or random ones")
    feed_csv: str = key("", "a file of own feeds instead: id,type,x0,y0,z0,vx,vy,vz[,rx,ry]")
    strokes: int = key(20, "how many strokes are played", ge=1)
    seed: int = key(0, "seeds the choice of strokes, the world and the agent", ge=0)
    start: Literal["receiver", "carried"] = key(
        "receiver", "each stroke starts where the real receiver stood, or where the last stroke left the robot"
    )
    random: RandomFeed = RandomFeed()


class LowWeightsSection(Section):
    """Weights of the terms of the low level's energy, as in planning.objectives; guards count in their tolerances."""

    goal: float = key(1.0, "distance of the predicted outcome to the sub-goal, in the upper latent", ge=0)
    contact: float = key(1.0, "predicted distance of the shuttle from the racket at the contact, per 0.06 m", ge=0)
    offset: float = key(0.5, "predicted distance of the contact from the racket's centre, per 0.06 m", ge=0)
    support: float = key(0.7, "distance of the motor latent from those that the motor codec knows", ge=0)
    net: float = key(1.0, "predicted height over the tape below 0.25 m, per 0.08 m", ge=0)
    limits: float = key(1.0, "joint speed, acceleration and range beyond their limits", ge=0)
    effort: float = key(0.15, "share of the joints' acceleration used", ge=0)
    haste: float = key(0.9, "share of the joints' speed used at the contact", ge=0)
    prior: float = key(0.05, "distance of the motor latent from the middle of the data's", ge=0)


class LowSection(Section):
    """The low level's search, as in planning.stroke_planner."""

    replan_period_ms: int = key(40, "time between two low-level plans (ms), whole 10 ms ticks", ge=10, multiple_of=10)
    latency_ms: int = key(30, "planning time (ms) charged to the clock in lockstep", ge=0)
    budget_ms: int = key(25, "realtime: a search begins no iteration that would end later than this (ms)", ge=1)
    planner: Literal["gradient", "cem"] = key("gradient", "the search of mode 2: Gauss-Newton, or cross-entropy")
    reach_iterations: int = key(1, "iterations for each candidate goal when asked what is reachable", ge=0)
    first_starts: int = key(3, "proposals from which the first search of a goal starts", ge=1)
    first_iterations: int = key(3, "iterations of the first search of a goal", ge=1)
    starts: int = key(1, "motor latents from which a later search starts, the one in force first", ge=1)
    iterations: int = key(3, "iterations of a later search", ge=1)
    candidates: int = key(128, "cem: motor latents drawn per iteration", ge=2)
    elites: int = key(12, "cem: best candidates kept per iteration", ge=2)
    accept_margin: float = key(0.0, "a new motor latent must lower the energy by this share", ge=0)
    alarm_energy: float = key(8.0, "energy above which the proposals are asked again", ge=0)
    freeze_ms: int = key(60, "nearer to the contact than this (ms) the motor latent stays", ge=0)
    valid_ms: int = key(500, "how long (ms) a command may be followed without a newer one", ge=50)
    adapt: bool = key(True, "learn the slow context (drag, rebound) from how past strokes came out")
    weights: LowWeightsSection = LowWeightsSection()


class HighWeightsSection(Section):
    """Weights of the terms of the high level's energy, as in planning.hierarchy."""

    win: float = key(1.0, "log-odds of winning the rally after the opponent's reply", ge=0)
    support: float = key(1.0, "log-probability that a real player answers with this here", ge=0)
    name: float = key(2.0, "log-probability that the shot is what it is called", ge=0)
    reach: float = key(0.3, "the low level's energy for the candidate goal", ge=0)
    mixing: float = key(1.0, "Gumbel noise: a mixed strategy; 0: always the least energy", ge=0)


class HighSection(Section):
    """The high level's decision, as in planning.hierarchy."""

    latency_ms: int = key(40, "planning time (ms) charged to the clock in lockstep", ge=0)
    shots: tuple[str, ...] = key(COURTBOT_SHOTS, "types that the robot can play; empty: all")
    candidates: int = key(16, "macro-actions weighed per decision", ge=1)
    shortlist: int = key(8, "of the macro-actions, cheapest first: the low level is asked about these", ge=1)
    samples: int = key(6, "tracker samples of the incoming flight before anything is decided", ge=6, le=40)
    prior_floor: float = key(0.003, "macro-actions less probable than this are outside the support", ge=0, lt=1)
    margin_m: float = key(0.30, "targets lie this far (m) inside the lines, twice as far behind the net", ge=0, lt=2)
    net_margin_m: float = key(0.10, "predicted height (m) over the tape", ge=0)
    name_floor: float = key(0.5, "least probability that the shot is what it is called", ge=0, lt=1)
    weights: HighWeightsSection = HighWeightsSection()


class AgentSection(Section):
    name: AgentName = key("hjepa", "hjepa, or a baseline")
    weights: str = key("", "folder with other trained weights; empty: those that ship with the package")


class RunSection(Section):
    clock: Literal["lockstep", "realtime"] = key("lockstep", "deterministic simulated time, or nobody waits")


class Config(Section):
    """A whole configuration."""

    robot: RobotSection = RobotSection()
    world: WorldSection = WorldSection()
    task: TaskSection = TaskSection()
    low: LowSection = LowSection()
    high: HighSection = HighSection()
    agent: AgentSection = AgentSection()
    run: RunSection = RunSection()


def resource(folder: str, name: str = "") -> Path:
    """Path of a shipped file; `folder` is configs or launch: beside the package in a checkout, else inside it."""
    package = Path(__file__).parent
    beside = package.parent / folder
    in_checkout = (package.parent / "pyproject.toml").is_file() and beside.is_dir()
    return (beside if in_checkout else package / "_share" / folder) / name


def names() -> list[str]:
    """Configurations that ship with the package."""
    return sorted(path.stem for path in resource("configs").glob("*.yaml"))


def load(name_or_file: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Configuration by name or file, with overrides of the form `low.iterations=4` (the value is YAML)."""
    path = _find(name_or_file)
    lines: dict[tuple[str, ...], str] = {}
    problems: list[str] = []
    data = _read(path, lines, problems)
    for text in overrides:
        _override(data, text, lines, problems)
    config = _validate(data, _shown(path), lines, problems)
    if config is None:
        order = {where: index for index, where in enumerate(lines.values())}
        raise ConfigError("\n".join(sorted(problems, key=lambda text: order.get(text.split(": ")[0], len(order)))))
    return config


def dump(config: Config) -> str:
    """The resolved configuration as YAML, every key with its value; `load` reads it back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def explain(config: Config) -> str:
    """The resolved configuration as YAML with each key's meaning as a comment."""
    return "\n".join(_explain(config, indent="")) + "\n"


def _explain(section: Section, indent: str) -> list[str]:
    out: list[str] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            out += [f"{indent}{name}:", *_explain(value, indent + "  ")]
        else:
            shown = json.dumps(value)
            out.append(f"{indent}{name}: {shown}".ljust(40) + f"  # {field.description}")
    return out


class _Loader(yaml.SafeLoader):
    """YAML 1.1 reads `on` as true, 1e-3 as text and 2026-01-01 as a date; configurations want neither."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":bool", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|True|false|False)$"), list("tTfF"))


def _find(name_or_file: str | Path) -> Path:
    text = str(name_or_file)
    is_file = isinstance(name_or_file, Path) or text.endswith((".yaml", ".yml")) or os.sep in text
    path = Path(text) if is_file else resource("configs", f"{text}.yaml")
    if not path.is_file():
        hint = "give an existing .yaml file" if is_file else f"{nearest(text, names())}; or a path to a .yaml file"
        raise ConfigError(f"no configuration '{text}': {hint}")
    return path


def _shown(path: Path) -> str:
    """The path relative to the working folder where it lies below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _read(path: Path, lines: dict[tuple[str, ...], str], problems: list[str]) -> dict[str, Any]:
    """YAML file -> nested dict; fills where each key stands, notes repeated keys."""
    shown = _shown(path)
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        if root is None:
            return {}
        if not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{shown}:1: expected sections, such as {', '.join(Config.model_fields)}")
        _walk(root, (), shown, lines, problems)
        data: dict[str, Any] = loader.construct_document(root)
        return data
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{shown}:{mark.line + 1 if mark else 1}: not YAML: {error.problem}") from error


def _walk(
    node: yaml.MappingNode, at: tuple[str, ...], shown: str, lines: dict[tuple[str, ...], str], problems: list[str]
) -> None:
    for name, value in node.value:
        here = (*at, str(name.value))
        where = f"{shown}:{name.start_mark.line + 1}"
        if here in lines:
            problems.append(f"{where}: {'.'.join(here)}: key given twice (first at {lines[here]})")
        lines[here] = where
        if isinstance(value, yaml.MappingNode):
            _walk(value, here, shown, lines, problems)


def _override(data: dict[str, Any], text: str, lines: dict[tuple[str, ...], str], problems: list[str]) -> None:
    """Put `a.b=c` into the nested dict `data` (ours, freshly read)."""
    where = f"--set {text}"
    name, equals, value = text.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not all(path):
        problems.append(f"{where}: expected section.key=value, such as low.iterations=4")
        return
    for part in path[:-1]:
        if not isinstance(data.get(part), dict):
            data[part] = {}
        data = data[part]
    try:
        data[path[-1]] = yaml.load(value, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        problems.append(f"{where}: not a YAML value: {getattr(error, 'problem', error)}")
    lines[path] = where


def _validate(
    data: dict[str, Any], shown: str, lines: dict[tuple[str, ...], str], problems: list[str]
) -> Config | None:
    """Config, or None with every mistake appended to `problems`."""
    try:
        # JSON mode is strict about types ("3" is no number, 1 no flag) and still reads a list as a tuple
        empty = {name: {} if value is None and name in Config.model_fields else value for name, value in data.items()}
        config = Config.model_validate_json(json.dumps(empty), strict=True)
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            problems.append(f"{shown}: {error}")
            return None
        problems += [_sentence(dict(item), shown, lines) for item in error.errors(include_url=False)]
        return None
    return None if problems else config


def _sentence(item: dict[str, Any], shown: str, lines: dict[tuple[str, ...], str]) -> str:
    location = tuple(str(part) for part in item["loc"])
    dotted = ".".join(location)
    where = _where(location, shown, lines)
    if item["type"] == "extra_forbidden":
        return f"{where}: {dotted}: unknown key; {nearest(location[-1], _keys_at(location[:-1]))}"
    said = str(item["msg"]).replace("Input should be", "must be").replace("Input should", "must")
    got = json.dumps(item["input"])
    return f"{where}: {dotted}: {said}, got {got if len(got) <= 60 else got[:57] + '...'}"


def _where(location: tuple[str, ...], shown: str, lines: dict[tuple[str, ...], str]) -> str:
    """Where the key stands: itself, the nearest section above it, or an override below it."""
    for length in range(len(location), 0, -1):
        if location[:length] in lines:
            return lines[location[:length]]
    below = [where for path, where in lines.items() if path[: len(location)] == location]
    return below[0] if below else shown


def _keys_at(location: tuple[str, ...]) -> list[str]:
    section: type[Section] = Config
    for part in location:
        section = section.model_fields[part].annotation  # type: ignore[assignment]
    return list(section.model_fields)
