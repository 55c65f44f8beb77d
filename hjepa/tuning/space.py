"""A search space as YAML: which keys of a configuration are searched, in which range, and what for.

The configuration's own schema says what a key is and which values it allows; a space is checked against it before
anything is played. `load("quick", config)` reads a space that ships with the package, `load("my/space.yaml", config)`
a file.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from hjepa.config import Config, resource
from hjepa.errors import ConfigError, nearest
from hjepa.tuning.objective import FIGURES
from hjepa.typed_yaml import Section, key, plainly, read

Value = bool | int | float | str
Params = dict[str, Value]  # dotted key -> value
Fault = tuple[tuple[str, ...], str]  # the key of the space, and what is wrong with it
SEARCHED = ("low", "high", "agent")  # sections: what plays, and not what it plays against
FACTS = ("low.latency_ms", "high.latency_ms", "agent.weights")  # of the machine or of a file
PRUNERS = Literal["race", "median", "none"]


class Dimension(Section):
    """Values of one key: a range, or choices."""

    low: int | float | None = key(None, "least value")
    high: int | float | None = key(None, "greatest value")
    log: bool = key(False, "drawn evenly in the logarithm")
    step: int | float | None = key(None, "distance of allowed values, counted from `low`")
    choices: tuple[Value, ...] = key((), "the values themselves, instead of a range")


class Space(Section):
    """A whole search space."""

    objectives: tuple[str, ...] = key((), "figures to optimise; several: a Pareto front, the first counts most")
    score: dict[str, float] = key({}, "instead: one weighted sum of figures, which is maximised")
    strokes: int = key(40, "feasible strokes that every trial plays, the same ones", ge=4)
    block: int = key(10, "strokes after which a trial may be stopped; each block starts with a fresh agent", ge=2)
    feed: str = key("val", "matches whose strokes are played: val or train, never test")
    seed: int = key(0, "seeds the choice of strokes, the world, the agent and the search", ge=0)
    pruner: PRUNERS = key(
        "race", "stops a trial: race: surely worse on the same strokes; median: Optuna's, for one objective"
    )
    search: dict[str, Dimension] = key({}, "key of the configuration -> {low, high, log, step} or {choices: [...]}")


def names() -> list[str]:
    """Spaces that ship with the package."""
    return sorted(path.stem for path in resource("configs", "spaces").glob("*.yaml"))


def find(name_or_file: str | Path) -> Path:
    """The file of a space by name, or by path; ConfigError lists the names."""
    text = str(name_or_file)
    is_file = text.endswith((".yaml", ".yml")) or os.sep in text
    path = Path(text) if is_file else resource("configs", "spaces") / f"{text}.yaml"
    if not path.is_file():
        hint = "give an existing .yaml file" if is_file else f"{nearest(text, names())}; or a path to a .yaml file"
        raise ConfigError(f"no search space '{text}': {hint}")
    return path


def load(name_or_file: str | Path, config: Config) -> Space:
    """A space, checked against the configuration it is to change; ConfigError with a line for each mistake."""
    return read(Space, find(name_or_file), check=lambda space: _faults(space, config))


def changed(config: Config, params: Mapping[str, Value]) -> Config:
    """The configuration with other values; ConfigError where they do not go together."""
    data = config.model_dump(mode="json")
    for dotted, value in params.items():
        *sections, leaf = dotted.split(".")
        inner = data
        for part in sections:
            inner = inner[part]
        inner[leaf] = value
    try:
        return Config.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise ConfigError(_first(error)) from error


def value_at(config: Config, dotted: str) -> Any:
    """Value of a key."""
    found: Any = config
    for part in dotted.split("."):
        found = getattr(found, part)
    return found


def is_whole(dotted: str) -> bool:
    """Whether a key of the configuration holds whole numbers."""
    return _field(dotted)[1].annotation is int


def _field(dotted: str) -> tuple[type[Section], FieldInfo]:
    """The section that holds a key, and the key; ConfigError names the nearest one."""
    kind: type[Section] = Config
    *sections, leaf = dotted.split(".")
    for part in sections:
        field = kind.model_fields.get(part)
        inner = None if field is None else field.annotation
        if not (isinstance(inner, type) and issubclass(inner, Section)):
            raise ConfigError(f"unknown key; {nearest(part, kind.model_fields)}")
        kind = inner
    field = kind.model_fields.get(leaf)
    if field is None:
        raise ConfigError(f"unknown key; {nearest(leaf, kind.model_fields)}")
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
        raise ConfigError(f"this is a section; allowed: one of its keys: {', '.join(field.annotation.model_fields)}")
    return kind, field


def _faults(space: Space, config: Config) -> Iterator[Fault]:
    yield from _aims(space)
    if space.feed not in ("val", "train"):
        why = ": what is tuned on the test matches cannot be measured on them" if space.feed == "test" else ""
        yield ("feed",), f"got '{space.feed}'{why}; allowed: val, train"
    if not space.search:
        yield ("search",), "nothing to search; allowed: at least one key, such as low.iterations: {low: 1, high: 6}"
    for dotted, dimension in space.search.items():
        fault = _fault(dotted, dimension, config)
        if fault:
            yield ("search", dotted), fault


def _aims(space: Space) -> Iterator[Fault]:
    if bool(space.objectives) == bool(space.score):
        yield ("objectives",), f"allowed: either objectives or score, of: {', '.join(FIGURES)}"
    for at, listed in (("objectives", space.objectives), ("score", tuple(space.score))):
        for name in listed:
            if name not in FIGURES:
                yield (at,), f"unknown figure '{name}'; {nearest(name, FIGURES)}"
            elif listed.count(name) > 1:
                yield (at,), f"'{name}' is named twice; allowed: once"
    if space.pruner == "median" and len(space.objectives) > 1:
        yield ("pruner",), "median compares one objective, got several; allowed: race, none"


def _fault(dotted: str, dimension: Dimension, config: Config) -> str | None:
    """What is wrong with a dimension, or None."""
    if dotted.split(".")[0] not in SEARCHED and dotted.split(".")[0] in Config.model_fields:
        return f"what is played must be the same in every trial; allowed: keys of {', '.join(SEARCHED)}"
    try:
        kind, field = _field(dotted)
    except ConfigError as error:
        return str(error)
    if dotted in FACTS:
        return "this is a fact of the machine or a file, nothing to choose; allowed: leave it out"
    number = field.annotation in (int, float)
    ranged = (dimension.low, dimension.high) != (None, None)
    if ranged == bool(dimension.choices) or (ranged and (dimension.low is None or dimension.high is None)):
        return "allowed: either low and high, or choices"
    if ranged and not number:
        listed = json.dumps(get_args(field.annotation) or ([True, False] if field.annotation is bool else ["..."]))
        return f"no number; allowed: {{choices: {listed}}}"
    for value in [*dimension.choices, *_ends(dimension, field.annotation is int)]:
        said = _refused(kind, dotted.rpartition(".")[2], value)
        if said:
            return said
    return (_range_fault(dimension, field.annotation is int) if ranged else None) or _outside(
        dotted, dimension, value_at(config, dotted)
    )


def _ends(dimension: Dimension, whole: bool) -> list[int | float]:
    """Values of a range that the schema must allow: both ends, and the one after the first."""
    low, high = dimension.low, dimension.high
    if low is None or high is None:
        return []
    step = dimension.step or (1 if whole and not dimension.log else None)
    return [low, high, *([low + step] if step and low + step < high else [])]


def _range_fault(dimension: Dimension, whole: bool) -> str | None:
    low, high, step = dimension.low, dimension.high, dimension.step
    assert low is not None and high is not None
    if not low < high:
        return f"low {low} is not below high {high}"
    if dimension.log and (low <= 0 or step is not None):
        return "log: allowed: low above 0, and no step"
    if step is not None and (step <= 0 or (whole and not isinstance(step, int))):
        return f"step: got {step}; allowed: {'a whole number' if whole else 'a number'} above 0"
    return None


def _refused(kind: type[Section], leaf: str, value: Value) -> str | None:
    """What the schema says against a value of a key, or None."""
    try:
        kind.model_validate_json(json.dumps({leaf: value}), strict=True)
    except ValidationError as error:
        return _first(error)
    return None


def _outside(dotted: str, dimension: Dimension, value: Any) -> str | None:
    """Trial 0 is the configuration as it is: it must lie in the space."""
    if dimension.choices:
        fits = any(value == choice and type(value) is type(choice) for choice in dimension.choices)
    else:
        assert dimension.low is not None and dimension.high is not None
        steps = (value - dimension.low) / dimension.step if dimension.step else 0.0
        fits = dimension.low <= value <= dimension.high and math.isclose(steps, round(steps), abs_tol=1e-6)
    if fits:
        return None
    return f"the configuration's own value {json.dumps(value)} must be one of these: the search starts from it"


def _first(error: ValidationError) -> str:
    item = error.errors(include_url=False)[0]
    at = ".".join(str(part) for part in item["loc"])
    return f"{at} {plainly(item['msg'])}, got {json.dumps(item['input'])}"
