"""The training loop: it learns, reports, and a killed run ends where the whole one does."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hjepa.errors import WeightsError
from hjepa.training.loop import LoopConfig, optimise

TRUTH = torch.randn(40, 3, generator=torch.Generator().manual_seed(9))


class Killed(Exception):
    """Stands for kill -9."""


def step_of(module: nn.Module, kill_at: int = -1):
    def step(k: int) -> tuple[Tensor, dict[str, float]]:
        if k == kill_at:
            raise Killed
        x = torch.randn(32, 40, generator=torch.Generator().manual_seed(k))
        loss = ((module(x) - x @ TRUTH) ** 2).mean()
        return loss, {"k": float(k)}

    return step


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 3))


def test_a_killed_run_ends_bit_for_bit_where_the_whole_one_does(tmp_path: Path) -> None:
    config = LoopConfig(30, checkpoint_every=8)
    whole = net()
    optimise(whole, step_of(whole), config)
    killed, path = net(), tmp_path / "a" / "run.ckpt"
    with pytest.raises(Killed):
        optimise(killed, step_of(killed, kill_at=19), config, checkpoint=path)
    resumed = net()  # a fresh process: nothing but the file is left
    optimise(resumed, step_of(resumed), config, checkpoint=path)
    for ours, theirs in zip(whole.parameters(), resumed.parameters()):
        assert torch.equal(ours, theirs)
    assert [p.name for p in path.parent.iterdir()] == ["run.ckpt"]


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    config, path = LoopConfig(5), tmp_path / "run.ckpt"
    optimise(net(), step_of(net()), config, checkpoint=path)
    first = net()
    optimise(first, step_of(first, kill_at=0), config, checkpoint=path)


def test_a_run_with_other_settings_or_sizes_does_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    optimise(net(), step_of(net()), LoopConfig(5), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(WeightsError, match="of a run with steps 5; allowed"):
        optimise(net(), step_of(net()), LoopConfig(6), checkpoint=path)
    other = nn.Linear(40, 3)
    with pytest.raises(WeightsError, match="of other sizes"):
        optimise(other, step_of(other), LoopConfig(5), checkpoint=path)
    assert path.read_bytes() == before


def test_it_learns_and_reports_the_first_and_the_last_step() -> None:
    module, told, curve = net(), [], []

    class Curve:
        def add_scalar(self, tag: str, value: float, step: int) -> None:
            curve.append((tag, step))

    optimise(
        module,
        step_of(module),
        LoopConfig(120, rate=1e-2, report_every=50),
        report=lambda step, values: told.append((step, values)),
        writer=Curve(),
        evaluate=lambda: {"held": 1.0},
    )
    assert [step for step, _ in told] == [0, 50, 100, 119]
    assert told[-1][1]["loss"] < 0.2 * told[0][1]["loss"]
    assert "held" in told[-1][1]
    assert ("loss", 119) in curve
