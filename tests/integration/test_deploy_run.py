"""A bundle's levels play in a graph as they were built, whatever is set around them."""

from pathlib import Path

import pytest

from hjepa.cli import main
from hjepa.deploy import controller
from hjepa.errors import BundleError, ConfigError
from tests.bundled import flip, refused
from tests.launched import Launched

pytest.importorskip("cryptography")


def test_check_says_what_would_be_started(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(bundle), "--graph", "badminton_sim", "--check", "--trust", str(bundle.parent / "builder.pub")]
    with pytest.raises(SystemExit) as end:
        main(["deploy", *words])
    assert end.value.code == 0 and "graph badminton-sim is valid" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["{}", "graph.set=[{}]"])
@pytest.mark.parametrize("text", ["low.iterations=9", "agent.weights=/elsewhere", "robot.name=panda"])
def test_a_bundle_s_levels_stay_as_built(bundle: Path, capsys: pytest.CaptureFixture[str], text: str, way: str) -> None:
    trust = bundle.parent / "builder.pub"
    said = refused(capsys, "deploy", "run", bundle, "--check", "--trust", trust, "--set", way.format(text))
    assert said == f"hjepa: {text}: a bundle's levels stay as built; what may be set: graph.*, task.*, world.*\n"


def test_a_graph_cannot_put_others_in_the_levels_place(bundle: Path) -> None:
    sets = [
        "graph.nodes.low.factory=hjepa.factories:make_low",
        "graph.nodes.low.args={config: other}",
        "graph.config=reach",
        "graph.clock=lockstep",
        "task.strokes=7",
    ]
    plan = controller.graph_of(bundle, "badminton_sim", [bundle.parent / "builder.pub"], sets, False)
    low = plan.graph.nodes["low"]
    assert low.factory == "hjepa.deploy.controller:make_low"
    assert low.args["bundle"] == str(bundle) and low.args["clock"] == "lockstep"
    assert plan.config.task.strokes == 7 and plan.config.low.iterations == 3
    assert plan.config.agent.weights == str(bundle / "weights")


def test_a_graph_without_both_levels_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("name: one\nnodes: {low: {role: low}}\n")
    with pytest.raises(ConfigError, match="no high and low level; allowed: one with both"):
        controller.graph_of(bundle, str(tmp_path / "one.yaml"), [bundle.parent / "builder.pub"], [], False)


@pytest.mark.sim
def test_an_odd_folder_plays(bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("pybullet")
    odd = tmp_path / "line 3: the #1, 'new'"
    bundle.rename(odd)
    words = ["--graph", "badminton_sim", "--trust", str(tmp_path / "builder.pub")]
    sets = ["--set", "task.strokes=1", "graph.nodes.conductor.out=out"]
    with Launched(tmp_path, odd, *words, *sets, verb=("deploy", "run")) as launched:
        assert launched.ends() == 0, launched.complained + launched.said
    assert len((tmp_path / "out" / "strokes.csv").read_text().splitlines()) == 2
    low = (tmp_path / "runs/launch/badminton-sim/latest/low.log").read_text()
    assert "bundle checked, 9 golden pairs agree, ready in" in low
    assert launched.leaves_nothing()


@pytest.mark.sim
def test_a_bundle_that_changes_while_its_graph_runs_is_refused_by_the_node(bundle: Path, tmp_path: Path) -> None:
    plan = controller.graph_of(bundle, "badminton_sim", [tmp_path / "builder.pub"], [], False)
    flip(bundle / "weights" / "low.safetensors")
    with pytest.raises(BundleError, match=r"weights/low.safetensors was changed"):
        controller.make_low(**plan.graph.nodes["low"].args)
