"""A search space is checked against the schema before anything is played, each mistake with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hjepa.config import load as load_config
from hjepa.errors import ConfigError
from hjepa.tuning import space as spaces
from hjepa.tuning.outcome import difference
from hjepa.tuning.space import changed, value_at
from hjepa.typed_yaml import Section

CONFIG = load_config("badminton")
GOOD = "objectives: [return_rate]\nsearch:\n  low.iterations: {low: 1, high: 6}\n"


def mistakes(folder: Path, text: str) -> str:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as said:
        spaces.load(path, CONFIG)
    return str(said.value)


@pytest.mark.parametrize("name", spaces.names())
def test_a_shipped_space_fits_the_shipped_configuration(name: str) -> None:
    assert spaces.load(name, CONFIG).search


def test_three_spaces_ship() -> None:
    assert spaces.names() == ["high_weights", "low_planner", "quick"]


def test_an_unknown_space_is_told_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="no search space 'quik': did you mean 'quick'"):
        spaces.find("quik")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("low.itrations: {low: 1, high: 3}", "unknown key; did you mean 'iterations'"),
        ("lw.iterations: {low: 1, high: 3}", "unknown key; did you mean 'low'"),
        ("low.weights: {low: 0.1, high: 1.0}", "this is a section; allowed: one of its keys: goal, contact"),
        ("low.iterations: {low: 0, high: 3}", "must be greater than or equal to 1, got 0"),
        ("low.iterations: {low: 1.5, high: 3}", "must be a valid integer, got 1.5"),
        ("low.replan_period_ms: {low: 20, high: 80}", "must be a multiple of 10, got 21"),
        ("low.planner: {choices: [gradient, best]}", "must be 'gradient', 'cem', 'icem' or 'mppi', got \"best\""),
        ("low.planner: {low: 1, high: 3}", 'no number; allowed: {choices: ["gradient", "cem", "icem", "mppi"]}'),
        ("low.adapt: {low: 0, high: 1}", "no number; allowed: {choices: [true, false]}"),
        ("low.iterations: {low: 4, high: 3}", "low 4 is not below high 3"),
        ("low.iterations: {low: 1}", "allowed: either low and high, or choices"),
        ("low.iterations: {low: 1, high: 6, choices: [3]}", "allowed: either low and high, or choices"),
        ("low.iterations: {low: 4, high: 6}", "the configuration's own value 3 must be one of these"),
        ("low.iterations: {low: 2, high: 6, step: 2}", "the configuration's own value 3 must be one of these"),
        ("low.iterations: {low: 1, high: 6, step: 0.5}", "a valid integer"),
        ("low.weights.effort: {low: 0.0, high: 1.0, log: true}", "log: allowed: low above 0, and no step"),
        ("task.seed: {low: 0, high: 9}", "what is played must be the same in every trial; allowed: keys of low, high"),
        ("world.restitution: {low: 0.4, high: 0.6}", "what is played must be the same in every trial"),
        ("low.latency_ms: {low: 0, high: 30}", "a fact of the machine"),
    ],
)
def test_a_wrong_dimension_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    text = mistakes(tmp_path, f"{GOOD.replace('low.iterations', 'high.candidates').replace('6', '20')}  {line}\n")
    assert len(text.splitlines()) == 1, text
    assert f"space.yaml:4: search.{line.partition(':')[0]}: " in text
    assert said in text


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("[return_rate]", "[return_rat]"), 1, "unknown figure 'return_rat'; did you mean 'return_rate'"),
        (("[return_rate]", "[return_rate, return_rate]"), 1, "'return_rate' is named twice"),
        (("objectives: [return_rate]", "score: {effort: -1}"), 1, "unknown figure 'effort'; did you mean 'effort_j'"),
        (("search", "feed: test\nsearch"), 2, "what is tuned on the test matches cannot be measured on them"),
        (("search", "pruner: slow\nsearch"), 2, "must be 'race', 'median' or 'none'"),
        (("search", "strokes: 2\nsearch"), 2, "must be greater than or equal to 4"),
        (("search", "stroks: 20\nsearch"), 2, "unknown key; did you mean 'strokes'"),
        (("[return_rate]", "[return_rate, effort_j]\npruner: median"), 2, "median compares one objective"),
        (("search", "score: {effort_j: -1}\nsearch"), 1, "either objectives or score"),
    ],
)
def test_a_wrong_setting_is_named_with_its_line(tmp_path: Path, change: tuple[str, str], line: int, said: str) -> None:
    text = mistakes(tmp_path, GOOD.replace(*change))
    assert f"space.yaml:{line}: " in text
    assert said in text


def test_all_mistakes_of_a_space_are_told_at_once(tmp_path: Path) -> None:
    text = mistakes(tmp_path, GOOD.replace("return_rate", "returns") + "  low.most: {low: -1, high: 2}\n")
    assert len(text.splitlines()) == 2


def test_a_space_without_keys_is_refused(tmp_path: Path) -> None:
    assert "nothing to search" in mistakes(tmp_path, "objectives: [return_rate]\n")


@pytest.mark.parametrize("dotted", [f"low.{name}" for name in type(CONFIG.low).model_fields])
def test_every_key_of_the_low_level_that_is_no_fact_can_be_searched(dotted: str, tmp_path: Path) -> None:
    value: Any = value_at(CONFIG, dotted)
    if dotted in spaces.FACTS or isinstance(value, Section):
        return
    path = tmp_path / "space.yaml"
    text = str(value).lower() if isinstance(value, bool) else value
    path.write_text(f"objectives: [return_rate]\nsearch:\n  {dotted}: {{choices: [{text}]}}\n", encoding="utf-8")
    assert spaces.load(path, CONFIG).search


def test_changed_values_and_their_difference_are_each_others_inverse() -> None:
    params = {"low.iterations": 5, "low.weights.effort": 0.25, "low.planner": "cem", "high.name_floor": 0.5}
    other = changed(CONFIG, params)
    assert {key: value_at(other, key) for key in params} == params
    kept = {"low": {"planner": "cem", "iterations": 5, "weights": {"effort": 0.25}}}  # name_floor is as it was
    assert difference(other, CONFIG) == kept
    assert difference(CONFIG, CONFIG) == {}


def test_what_is_played_is_no_part_of_the_difference() -> None:
    assert difference(load_config("badminton", ["task.seed=9", "world.dropout=0.1"]), CONFIG) == {
        "world": {"dropout": 0.1}
    }


def test_values_that_the_schema_refuses_are_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"low\.iterations must be greater than or equal to 1, got 0"):
        changed(CONFIG, {"low.iterations": 0})
