"""A recorded energy gives the numbers of the plain one, whatever the situation and however many candidates."""

import pytest
import torch

from hjepa.planning.objectives import LowWeights, Situation, StrokeResidual
from hjepa.planning.recorded import RecordedEnergy, record
from hjepa.planning.stroke_planner import limits_of
from tests import tiny


def situation(rows: int, seed: int) -> Situation:
    g = torch.Generator().manual_seed(seed)
    q = torch.tensor(tiny.SPEC.q_home_rad, dtype=torch.float32)[None] + 0.1 * torch.randn(1, 8, generator=g)
    z, goal = torch.randn(rows, tiny.LOW.state, generator=g), torch.randn(rows, tiny.LOW.goal, generator=g)
    dq, ddq = torch.randn(2, 1, 8, generator=g)
    return Situation(z, q, dq, ddq, 0.01 * seed, goal, torch.randn(rows, tiny.LOW.goal, tiny.LOW.goal, generator=g))


@pytest.mark.parametrize(("rows", "candidates"), [(1, 1), (1, 17), (12, 12)])
def test_recorded_and_plain_agree(rows: int, candidates: int) -> None:
    bundle, limits, weights = tiny.low(), limits_of(tiny.SPEC), LowWeights()
    recorded = RecordedEnergy(bundle.level, limits, weights, situation(1, 0))
    for seed in (1, 2):
        s = situation(rows, seed)
        plain, played_back = StrokeResidual(bundle.level, limits, weights, s), recorded.at(s)
        x = 0.5 * torch.randn(candidates, len(plain.low), generator=torch.Generator().manual_seed(seed))
        x[:, -1] = 3.0 + x[:, -1]
        with torch.no_grad():
            assert played_back(x) == pytest.approx(plain(x), rel=1e-3, abs=1e-3)
            assert played_back.energy(x) == pytest.approx(plain.energy(x), rel=1e-3)
    assert torch.equal(recorded.low, plain.low)
    assert torch.equal(recorded.high, plain.high)


def test_a_recorded_function_gives_the_numbers_of_the_plain_one() -> None:
    level, c = tiny.low().level, tiny.LOW
    example = torch.zeros(1, c.window, 3), torch.ones(1, c.window), torch.zeros(1, 8), torch.zeros(1, 8)
    see = record(level, level.see, example)
    for seed in (3, 4):
        g = torch.Generator().manual_seed(seed)
        mask = (torch.rand(1, c.window, generator=g) > 0.3).float()
        window = torch.randn(1, c.window, 3, generator=g) * mask[..., None]
        joints = torch.randn(2, 1, 8, generator=g)
        with torch.no_grad():
            assert see(window, mask, *joints) == pytest.approx(level.see(window, mask, *joints), rel=1e-3, abs=1e-4)
