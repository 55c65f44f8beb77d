"""pytest tests/unit/test_levels.py: the hierarchy as configuration: how many levels, how large, what guards."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hjepa import build
from hjepa.agent import HierarchicalAgent
from hjepa.config import Config, load
from hjepa.errors import ConfigError, WeightsError
from hjepa.launching import graph
from hjepa.models.high import HighConfig, HighModel, save_high
from hjepa.models.low import LowConfig, load_low
from hjepa.models.rally import RallyConfig
from hjepa.planning.flat import FlatAgent
from hjepa.training import pipeline
from hjepa.training.encoder import train_encoder
from hjepa.training.rally import train_rally
from hjepa.training.train_low import fit
from tests import ranked, tiny

SIZES = ["levels.high.latent=12", "levels.high.action=4", "levels.high.codes=16", "levels.low.latent=20"]


def config(weights: Path, *changes: str) -> Config:
    return load("badminton", [f"agent.weights={weights}", *changes])


def made(weights: Path, *changes: str) -> Any:
    chosen = config(weights, *changes)
    return build.build_agent(chosen, chosen.agent.name, lambda: (np.zeros(3), np.zeros(3)))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both levels, really trained (a few steps) with the sizes of a configuration."""
    out, chosen = tmp_path_factory.mktemp("small"), load("badminton", SIZES).levels
    sizes = chosen.high.model_dump(exclude_none=True)
    high = train_encoder(out, ranked.ENCODER, HighConfig(width=32, depth=1, **sizes), ranked.pool())
    high = train_rally(high, ranked.RALLY, ranked.pool(), out)
    save_high(out / "high.safetensors", high, {})
    model = LowConfig(width=32, depth=1, goal=high.config.latent, **chosen.low.model_dump(exclude_none=True))
    fit(tiny.SPEC, ranked.prepared(high), high, replace(ranked.LOW, model=model), out)
    return out


def test_an_agent_of_other_sizes_trains_and_plans(small: Path) -> None:
    agent = made(small, *SIZES)
    assert agent.high.model.action(torch.zeros(1, 4)).shape == (1, 4)
    assert agent.high.model.codebook.shape == (16, 4)
    low = load_low(small / "low.safetensors").level.config
    assert (low.latent, low.goal) == (20, 12)
    commands = [agent.act(tiny.flying(tick)) for tick in range(2, 40, 4)]
    goal = agent.thought.goal
    assert goal is not None
    assert goal.embedding.shape == (12,)
    assert any(command is not None and command.q_rad.shape[1] == 8 for command in commands)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("levels.high.latent=16", r"high.safetensors' was trained with latent 12, levels.high.latent is 16"),
        ("levels.low.latent=96", r"low.safetensors' was trained with latent 20, levels.low.latent is 96"),
    ],
)
def test_weights_of_other_sizes_are_refused_with_the_command_that_helps(small: Path, change: str, says: str) -> None:
    with pytest.raises(WeightsError, match=says + ": train again with `hjepa train (high|low)`"):
        made(small, change)


def test_sizes_that_are_not_named_are_the_weights_own(small: Path) -> None:
    assert isinstance(made(small), HierarchicalAgent)


def test_training_takes_its_sizes_from_the_configuration(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = pytest.importorskip("hjepa.api")
    asked: dict[str, Any] = {}

    def kept(name: str) -> Any:
        def train(*args: Any, **more: Any) -> Any:
            asked[name] = [a for a in (*args, *more.values()) if isinstance(a, HighConfig | RallyConfig)]
            asked[name] += [a.model for a in args if hasattr(a, "settle_steps")]
            raise KeyboardInterrupt

        return train

    for name, place in (("high", "train_high"), ("low", "train"), ("rally", "train_tactics")):
        monkeypatch.setattr(pipeline, place, kept(name))
    monkeypatch.setattr(pipeline, "load_swings", lambda data: None)
    monkeypatch.setattr(pipeline, "load_codec", lambda path: None)
    chosen = config(weights, "levels.high.action=5", "levels.low.outcome=24", "levels.rally.latent=48")
    for level in ("high", "rally"):
        with pytest.raises(KeyboardInterrupt):
            api.train(level, chosen, tmp_path, tmp_path)
    assert asked["high"] == [HighConfig(action=5)]
    assert asked["rally"] == [RallyConfig(latent=48)]
    with pytest.raises(WeightsError, match=r"levels.high.action is 5: train again with `hjepa train high`"):
        api.train("low", chosen, tmp_path, tmp_path)
    save_high(tmp_path / "high.safetensors", HighModel(HighConfig(latent=12, action=5, width=32, depth=1)), {})
    with pytest.raises(KeyboardInterrupt):
        api.train("low", chosen, tmp_path, tmp_path)
    assert asked["low"] == [LowConfig(outcome=24, goal=12)]


def test_one_level_searches_shot_and_swing_together_two_apart(weights: Path) -> None:
    one, two = config(weights, "use.levels=one"), config(weights, "use.levels=two")
    assert not build.two_levels(one)
    assert build.two_levels(two)
    assert isinstance(made(weights, "use.levels=one"), FlatAgent)
    assert isinstance(made(weights, "use.levels=two"), HierarchicalAgent)


def test_a_third_level_is_refused_where_there_is_no_rally(weights: Path) -> None:
    with pytest.raises(ConfigError, match="levels.count is 3: the rally level plays rallies, with `hjepa match`"):
        made(weights, "use.levels=three")


def test_a_rival_of_two_levels_has_two() -> None:
    with pytest.raises(ConfigError, match=r"levels.count: must be 2 for agent 'reactive', got 1"):
        load("badminton", ["levels.count=1", "agent.name=reactive"])


def test_a_graph_of_high_and_low_has_two_levels() -> None:
    with pytest.raises(ConfigError, match=r"levels.count is 1: nodes high and low are two levels"):
        graph.load("badminton_sim", ["levels.count=1"])


def test_guards_are_terms_that_can_be_switched_off_together() -> None:
    guarded, free = (build.low_weights(load("badminton", [f"low.guards={on}"])) for on in ("true", "false"))
    assert all(getattr(guarded, name) > 0 and getattr(free, name) == 0 for name in build.GUARDS)
    assert replace(free, **{name: getattr(guarded, name) for name in build.GUARDS}) == guarded


def test_what_nothing_guards_costs_nothing(weights: Path) -> None:
    """The energy that the agent minimises, not the configuration alone."""
    guarded, free = (made(weights, f"low.guards={on}").low.weights for on in ("true", "false"))
    assert guarded.net > 0
    assert free.net == free.limits == free.support == 0
    assert free.effort == guarded.effort > 0
