"""What planners are compared with: their own products, compiled code, other people's solvers."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hjepa.benches import limit, peers
from hjepa.errors import ConfigError
from hjepa.planning.cem import CrossEntropy, ImprovedCrossEntropy
from hjepa.planning.compiled import compile_rows, load_rows
from hjepa.tasks.reach import nodes
from hjepa.tasks.reach.settings import ReachSettings

X = 6
PEERS = find_spec("stable_worldmodel") is not None


class Bowl:
    """r(x) = x - 1, in a box of two."""

    low, high = torch.full((X,), -2.0), torch.full((X,), 2.0)

    def __call__(self, x: Tensor) -> Tensor:
        assert (x >= self.low).all() and (x <= self.high).all()
        return x - 1.0


class Net(nn.Module):
    """Layers of each kind that is taken apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(X, 16), nn.LayerNorm(16), nn.SiLU(), nn.Linear(16, 3, bias=False))

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        return self.net(x) - z.expand(x.shape[0], -1)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_code_computes_the_same_for_any_number_of_rows(tmp_path: Path) -> None:
    net, z, file = Net(), torch.randn(1, 3), tmp_path / "net.pt2"
    call = compile_rows(net, (torch.randn(4, X), z), file)
    for rows in (2, 5, 300):
        x = 3.0 * torch.randn(rows, X)
        assert torch.allclose(call(x, z), net(x, z), atol=1e-5)
    x, other = torch.randn(7, X), torch.randn(1, 3)
    assert torch.allclose(load_rows(file)(x, other), net(x, other), atol=1e-5)


def test_the_bare_products_are_those_of_one_call() -> None:
    net, z = Net(), torch.zeros(1, 3)
    bare = limit.Bare(limit.Boxed(lambda x: net(x, z), -torch.ones(X), torch.ones(X)), 10, torch.zeros(1, X))
    assert bare.flop == 2 * 10 * (X * 16 + 16 * 3)
    bare()


def test_the_model_of_the_limit_predicts_over_five_steps() -> None:
    case = limit.mlp_case()
    assert sum(p.numel() for p in case.module.parameters()) == pytest.approx(0.14e6, rel=0.05)
    plain = case.plain()
    assert limit.Bare(plain, 2, case.start).flop == 2 * 2 * 5 * sum(
        p.numel() for p in case.module.parameters() if p.ndim == 2
    )
    narrow = case.narrow(case.start, *case.situation)
    assert torch.allclose(narrow, plain(case.start), atol=0.05)


def test_their_cost_is_our_energy_of_the_nearest_point_in_the_box() -> None:
    model = peers.CostModel(Bowl())
    candidates = 3.0 * torch.randn(2, 5, 1, X)
    costs = model.get_cost({}, candidates)
    assert costs.shape == (2, 5)
    inside = candidates[1, 3, 0].clamp(-2.0, 2.0)
    assert costs[1, 3] == pytest.approx(0.5 * float((inside - 1.0).square().sum()), rel=1e-5)
    assert model.evaluations == 10


def test_an_unknown_solver_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'icem'"):
        peers.PeerSolver("iicem", Bowl())


def test_without_the_peers_the_error_says_how_to_get_them() -> None:
    if PEERS:
        pytest.skip("they are here")
    with pytest.raises(ConfigError, match="peers_setup.sh"):
        peers.solvers()


@pytest.mark.skipif(not PEERS, reason="needs an environment of tests/benchmarks/peers_setup.sh")
@pytest.mark.parametrize("kind", peers.KINDS)
def test_a_peer_serves_as_planner_and_keeps_the_deadline(kind: str) -> None:
    planner = peers.PeerPlanner(kind, samples=16, topk=4, spread=0.3)
    starts = torch.zeros(2, X)
    plan = planner.plan(Bowl(), starts, 20)
    assert plan.energy < 0.5 * X
    assert plan.energy == pytest.approx(0.5 * float((plan.x - 1.0).square().sum()), rel=1e-4)
    assert plan.starts.shape == (2, X)
    assert torch.equal(plan.begun, torch.full((X,), -1.0))
    planner.plan(Bowl(), starts, 1000, deadline_s=0.05)
    assert planner.plan(Bowl(), starts, 1000, deadline_s=-1.0).energy == pytest.approx(0.5 * X)
    assert planner.plan(Bowl(), starts, 0).evaluations == 2


def test_reach_searches_with_what_the_configuration_names() -> None:
    config = ReachSettings.model_validate({"low": {"planner": "icem", "candidates": 20, "elites": 4, "chunks": 3}})
    low = nodes.make_low(config.model_dump_json())
    assert isinstance(low.planner, ImprovedCrossEntropy) and not isinstance(low.planner, CrossEntropy)
    assert (low.planner.candidates, low.planner.elites, low.planner.horizon) == (20, 4, 3)


def test_the_command_writes_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hjepa.cli.app import main

    out = tmp_path / "planner.json"
    with pytest.raises(SystemExit) as left:
        main(["bench", "planner", "--strokes", "1", "--rounds", "0", "--json", str(out)])
    assert left.value.code in (0, None)
    found = json.loads(out.read_text())
    assert set(found["searched"]) == {
        *(f"hjepa gradient, {k} iterations" for k in (3, 10, 30)),
        *(f"hjepa {name}, 300 x 30" for name in ("cem", "icem", "mppi")),
    }
    assert found["about"]["strokes"] == 1 and found["about"]["commit"]
    assert "hjepa gradient" in capsys.readouterr().out


def test_an_interpreter_that_cannot_be_run_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from hjepa.cli.app import main

    with pytest.raises(SystemExit):
        main(["bench", "planner", "--peers", str(tmp_path / "python"), "--strokes", "1"])
    assert "peers_setup.sh" in capsys.readouterr().err
