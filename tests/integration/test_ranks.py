"""Training in several processes is training in one: the same gradients, the same weights, and it survives a kill."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.fx.experimental._config
from torch import Tensor

from hjepa.errors import ConfigError, WeightsError
from hjepa.training.ranks import Ranks, chosen, joined
from tests import ranked

ROOT = Path(__file__).parent.parent.parent
# a bias before a BatchNorm changes nothing: its gradient is rounding, which Adam makes into steps
FREE = ("target.net.head", "encoder.body.head", "target.project.running_mean", "encoder.project.running_mean")


def torchrun(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Two processes of tests/ranked.py."""
    out.mkdir(exist_ok=True)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, "-m", "tests.ranked", str(out), *words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes trained."""
    out = tmp_path_factory.mktemp("ranks") / "two"
    done = torchrun(out)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this process trained."""
    out = tmp_path_factory.mktemp("alone")
    ranked.train_low(out)
    ranked.train_high(out)
    return out


def module(path: Path) -> dict[str, Tensor]:
    state = torch.load(path, weights_only=True)
    return state.get("module", state)


def test_two_processes_find_the_gradients_of_one(two: Path) -> None:
    ours, theirs = ranked.gradients(), torch.load(two / "gradients.pt", weights_only=True)
    assert {k.split()[0] for k in ours} == {"encoder", "rally", "low", "vicreg"}
    for loss in ("encoder", "rally", "low", "vicreg"):
        names = [k for k in ours if k.startswith(loss + " ")]
        largest = max(float(ours[k].abs().max()) for k in names)
        for k in names:
            unused = torch.zeros_like(ours[k])
            assert torch.allclose(theirs.get(k, unused), ours[k], rtol=1e-3, atol=1e-5 * largest), k


@pytest.mark.parametrize(("name", "tolerance"), [("flight.ckpt", 1e-6), ("level.ckpt", 1e-4), ("encoder.pt", 5e-4)])
def test_two_processes_train_the_weights_of_one(one: Path, two: Path, name: str, tolerance: float) -> None:
    ours, theirs = module(one / name), module(two / name)
    assert ours.keys() == theirs.keys()
    told = [k for k in ours if not k.startswith(FREE)]
    assert max(float((ours[k].float() - theirs[k].float()).abs().max()) for k in told) < tolerance


def test_processes_that_are_killed_end_where_others_do(two: Path, tmp_path: Path) -> None:
    killed = torchrun(tmp_path, "high", "--kill-at", "25")
    assert killed.returncode != 0
    kept = torch.load(tmp_path / "encoder.pt", weights_only=True)
    assert kept["step"] == 20 and not (tmp_path / "high.pt").exists()
    again = torchrun(tmp_path, "high")
    assert again.returncode == 0, again.stderr[-3000:]
    ours, theirs = module(tmp_path / "high.pt"), module(two / "high.pt")
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_a_batch_that_the_processes_do_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match="a batch of 10 rows in 3 processes"):
        Ranks(0, 3).part(torch.zeros(10, 2))


def test_parts_are_every_so_manieth_row() -> None:
    rows = torch.arange(6)
    assert [Ranks(r, 2).part((rows, {"x": rows}))[1]["x"].tolist() for r in range(2)] == [[0, 2, 4], [1, 3, 5]]
    drawn = [Ranks(r, 2).uniform(3, 2, generator=torch.Generator().manual_seed(1)) for r in range(2)]
    assert torch.equal(
        torch.stack(drawn, dim=1).flatten(0, 1), torch.rand(6, 2, generator=torch.Generator().manual_seed(1))
    )


def test_ranks_that_see_other_checkpoints_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ranks, "whole", lambda self, x: torch.tensor([500.0, 0.0]))
    with pytest.raises(WeightsError, match="'a' is at step 500, 0 for ranks"):
        Ranks(1, 2).agree(0, Path("a"))


def test_a_device_is_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert chosen("auto") == chosen("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="--device cuda: torch finds no CUDA device here; allowed: auto, cpu"):
        chosen("cuda")
    with pytest.raises(ConfigError, match="--device tpu; allowed: auto, cpu, cuda"):
        chosen("tpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert chosen("auto", 1) == torch.device("cuda", 1)
    assert chosen("cpu", 1) == torch.device("cpu")
    with pytest.raises(ConfigError, match="process 2 of this machine finds 2 CUDA devices"):
        chosen("cuda", 2)
    with joined("cpu") as ranks:
        assert ranks == Ranks()


@pytest.mark.parametrize("name", ["encoder", "rally", "low", "vicreg"])
def test_a_loss_makes_no_tensor_on_another_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for CUDA where there is none: tensors without values, which refuse to be mixed with the CPU's."""
    monkeypatch.setattr(Tensor, "__float__", lambda self: 0.0)
    meta = torch.device("meta")
    module, loss = ranked.losses(Ranks(device=meta))[name]
    module.to(meta)
    with torch.fx.experimental._config.patch(meta_nonzero_assume_all_nonzero=True):
        loss(0)[0].backward()
    assert {p.grad.device for p in module.parameters() if p.grad is not None} == {meta}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gradients_on_cuda_are_those_on_the_cpu() -> None:
    ours = ranked.gradients()
    theirs = ranked.gradients(Ranks(device=torch.device("cuda")))
    for k, gradient in ours.items():
        assert torch.allclose(theirs[k].cpu(), gradient, rtol=1e-2, atol=1e-3 * float(gradient.abs().max()) + 1e-6), k
