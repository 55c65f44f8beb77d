"""hjepa.load and what lies behind it: agents by name, missing weights, strokes, factories of the nodes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hjepa
from hjepa import build, factories
from hjepa.agent import HierarchicalAgent
from hjepa.config import AGENTS, load
from hjepa.errors import ConfigError, DataError, WeightsError
from hjepa.evaluation.baselines import ClassicalAgent
from hjepa.evaluation.feasible import stroke_seed
from hjepa.planning.cem import CrossEntropy
from hjepa.planning.flat import FlatAgent
from hjepa.planning.hierarchy import HighPlanner
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.protocols import Agent, Explains, HighLevel, LowLevel
from hjepa.tasks.badminton.feeds import load_feed
from hjepa.training import pipeline
from tests import tiny

pytest.importorskip("pybullet")
from hjepa import api  # noqa: E402

ROOT = Path(__file__).parent.parent.parent


def config(weights: Path, *changes: str):
    return load("badminton", [f"agent.weights={weights}", "task.strokes=2", *changes])


@pytest.fixture
def system(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> api.System:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return api.load(config(weights))


def test_load_takes_a_name_a_file_or_a_configuration(weights: Path, tmp_path: Path) -> None:
    changes = [f"agent.weights={weights}", "task.seed=5"]
    path = tmp_path / "mine.yaml"
    path.write_text(f"agent: {{weights: {weights}}}\ntask: {{seed: 5}}\n")
    systems = [hjepa.load("badminton", changes), hjepa.load(path), hjepa.load(load("badminton", changes))]
    assert systems[0].config == systems[1].config == systems[2].config
    assert systems[0].spec.name == "courtbot"


@pytest.mark.parametrize("name", ["hjepa", "reactive", "flat", "coded-goal", "random", "bc"])
def test_missing_weights_name_the_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"no weights at '{tmp_path}/"):
        api.load(load("badminton", [f"agent.weights={tmp_path}", f"agent.name={name}"]))


def test_a_system_that_does_not_act_builds_no_agent_and_says_so(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hjepa.build.build_agent", lambda *_: pytest.fail("an agent was built"))
    system = api.System(config(weights), acts=False)
    with pytest.raises(ConfigError, match="no agent of its own"):
        system.act(tiny.flying(20))


@pytest.mark.parametrize("name", ["classical", "oracle"])
def test_agents_without_weights_need_none(name: str, tmp_path: Path) -> None:
    system = api.load(load("badminton", [f"agent.weights={tmp_path}", f"agent.name={name}"]))
    assert isinstance(system.agent(name), Agent)


def test_every_agent_of_the_configuration_can_be_made(system: api.System, weights: Path) -> None:
    made = {name: system.agent(name) for name in AGENTS if name != "bc"}
    assert all(isinstance(agent, Agent) for agent in made.values())
    for name in ("hjepa", "reactive", "coded-goal"):
        assert isinstance(made[name], HierarchicalAgent)
        assert made[name].low.config.search == (name != "reactive")
        assert (made[name].low.term is not None) == (name == "coded-goal")
    assert made["reactive"].high.config.candidates == 1
    assert isinstance(made["flat"], FlatAgent)
    assert made["flat"].low.config.joint
    assert not made["hjepa"].low.config.joint
    with pytest.raises(ConfigError, match="unknown agent 'hjeba': did you mean 'hjepa'"):
        system.agent("hjeba")
    with pytest.raises(ConfigError, match=r"high.shots.1: must be .*, got \"smahs\"; did you mean 'smash'\?"):
        api.load(config(weights, "high.shots=[drop, smahs]"))


def test_the_planners_take_every_key_of_the_configuration(weights: Path) -> None:
    c = config(
        weights,
        *("low.planner=cem", "low.candidates=33", "low.elites=5", "low.latency_ms=30", "low.freeze_ms=50"),
        *("low.first_starts=3", "low.starts=1", "low.iterations=4", "low.weights.effort=0.5"),
        *("high.latency_ms=60", "high.candidates=500", "high.weights.mixing=0", "high.margin_m=0.5"),
    )
    low, high = build.build_low(c, tiny.SPEC), build.build_high(c)
    assert isinstance(low.searching.planner, CrossEntropy)
    assert (low.searching.planner.candidates, low.searching.planner.elites) == (33, 5)
    assert (low.config.latency_s, low.config.goal_latency_s, low.config.freeze_s) == (0.03, 0.06, 0.05)
    assert (low.config.first_starts, low.config.starts, low.config.iterations) == (3, 1, 4)
    assert low.weights.effort == 0.5
    assert (high.config.latency_s, high.config.mixing, high.config.margin_m) == (0.06, 0.0, 0.5)
    assert high.config.candidates == tiny.HIGH.codes  # there are no more


def test_the_levels_speak_the_protocols(weights: Path) -> None:
    c = config(weights)
    low, high = build.build_low(c, tiny.SPEC), build.build_high(c)
    assert isinstance(low, LowLevel)
    assert isinstance(low, Explains)
    assert isinstance(high, HighLevel)


def test_weights_of_another_robot_are_refused(tmp_path: Path) -> None:
    from hjepa.models.low import save_low

    tiny.write_weights(tmp_path)
    save_low(tmp_path / "low.safetensors", tiny.low()._replace(header={"robot": "ur5e"}))
    with pytest.raises(WeightsError, match="trained for robot ur5e, not courtbot"):
        api.load(config(tmp_path))


def test_strokes_are_the_same_for_every_agent_and_world(system: api.System, weights: Path) -> None:
    start, launch, seed = system.stroke(1)
    other = api.load(config(weights, "agent.name=random", "world.restitution=0.7", "world.drag_length_m=5"))
    again = other.stroke(1)
    assert np.array_equal(again[0].q_rad, start.q_rad)
    assert np.array_equal(again[1].v_m_s, launch.v_m_s)
    assert again[2] == seed == stroke_seed(0, int(system.feed.id[1]))
    assert not np.array_equal(system.stroke(0)[1].x_m, launch.x_m)
    with pytest.raises(DataError, match="stroke 2; allowed: 0 to 1"):
        system.stroke(2)


def test_the_five_lines_of_the_readme(system: api.System) -> None:
    world = system.world()
    try:
        observation = world.reset(*system.stroke(0))
        commands = []
        for _ in range(40):
            commands.append(system.act(observation))
            observation = world.tick()
        assert commands[0] is None
        assert any(command is not None for command in commands)
        again = world.reset(*system.stroke(0))
        assert system.act(again) is None  # time has started again: a new stroke
    finally:
        world.close()


def test_lessons_are_training_strokes_from_where_the_receiver_stood() -> None:
    feed, spec = load_feed("train"), tiny.SPEC
    first, again, other = (api.lessons(spec, 30, seed) for seed in (1, 1, 2))
    assert len(first) == 30
    assert len({launch.x_m.tobytes() for _, launch, _ in first}) > 25
    assert [seed for *_, seed in first] == [seed for *_, seed in again] != [seed for *_, seed in other]
    rows = {(*x, *v): i for i, (x, v) in enumerate(zip(feed.x0_m, feed.v0_m_s))}
    for start, launch, _ in first:
        i = rows[(*launch.x_m, *launch.v_m_s)]  # a stroke of the training matches
        assert np.array_equal(start.q_rad[2:], spec.q_home_rad[2:])
        assert not start.dq_rad_s.any()
        where = feed.receiver_xy_m[i].clip(spec.q_min_rad[:2], spec.q_max_rad[:2])
        assert start.q_rad[1] == where[1]
        assert start.q_rad[0] <= where[0]  # it may step back from the net


def test_training_bc_hands_over_the_classical_agent_in_the_nominal_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def train_clone(spec, world, teacher, strokes, data, path, seed, **settings):
        asked.update(settings, world=world, teacher=teacher(spec), strokes=len(strokes), data=data, seed=seed)
        return path

    monkeypatch.setattr(pipeline, "train_clone", train_clone)
    c = load("badminton", ["task.seed=4", "low.latency_ms=30"])
    assert api.train("bc", c, tmp_path / "d", tmp_path, workers=1) == tmp_path / "bc.safetensors"
    assert (asked["world"], asked["data"], asked["seed"]) == (api.WORLD, tmp_path / "d", 4)
    assert (asked["strokes"], asked["workers"], asked["replan_period_ms"]) == (1000, 1, 40)
    assert isinstance(asked["teacher"], ClassicalAgent)
    assert asked["teacher"].config.latency_s == 0.03


def test_the_oracle_asks_for_a_world(system: api.System) -> None:
    from hjepa.types import Observation

    seen = Observation(200_000_000, np.zeros(8), np.zeros(8), np.zeros((64, 3)), np.zeros(64, bool), np.zeros(64, int))
    with pytest.raises(ConfigError, match="make one first"):
        system.agent("oracle").act(seen)


def test_random_events_repeat_for_a_seed_and_stay_in_the_box() -> None:
    draw = build.random_events(tiny.low())
    first, again, other = (draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.q_rad, again.q_rad)
    assert not np.array_equal(first.q_rad, other.q_rad)
    assert build.RANDOM_EVENT_S[0] <= first.to_go_s <= build.RANDOM_EVENT_S[1]


def test_factories_take_json(weights: Path) -> None:
    text = config(weights, "world.restitution=0.6", "agent.name=reactive").model_dump_json()
    world = factories.make_world(text)
    assert world.config.restitution == 0.6
    assert isinstance(factories.make_high(text), HighPlanner)
    low = factories.make_low(text)
    assert isinstance(low, StrokePlanner)
    assert not low.config.search


@pytest.mark.parametrize(
    ("factory", "never"), [("make_world", ("torch",)), ("make_low", ("pybullet",)), ("make_high", ("pybullet",))]
)
def test_a_process_loads_no_more_than_it_needs(factory: str, never: tuple[str, ...], weights: Path) -> None:
    text = config(weights).model_dump_json()
    code = f"import sys; from hjepa.factories import {factory} as f; f(sys.argv[1]); print('LOADED', *sys.modules)"
    out = subprocess.run([sys.executable, "-c", code, text], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(out.stdout.partition("LOADED")[2].split())
    assert "hjepa.config" in loaded
    assert not set(never) & loaded
