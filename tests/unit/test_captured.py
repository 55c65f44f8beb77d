"""On a GPU: captured programs give the numbers of the plain ones, on the CPU as on the device."""

import pytest
import torch

from hjepa.models.layers import for_search
from hjepa.planning.captured import captured
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.held import limits_of, residual_count
from hjepa.planning.objectives import LowWeights, Situation, search_box
from hjepa.planning.programs import Fused, LowPrograms, plain
from tests import tiny
from tests.unit.test_programs import candidates, situation

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def programs(device: str) -> LowPrograms:
    return plain(for_search(tiny.low().level).to(device), limits_of(tiny.SPEC, torch.device(device)))


def moved(s: Situation, device: str) -> Situation:
    return Situation(*(part.to(device) if isinstance(part, torch.Tensor) else part for part in s))


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (1, 3), (8, 8)])
def test_a_search_on_the_gpu_finds_what_the_cpu_finds(rows: int, count: int) -> None:
    found = []
    for device, made in (("cpu", programs("cpu")), ("cuda", captured(programs("cuda")))):
        level = for_search(tiny.low().level).to(device)
        box = search_box(level.codec, limits_of(tiny.SPEC, torch.device(device)))
        size = residual_count(level, made, tiny.SPEC.joints)
        for seed in (5, 6):  # the second call replays the graph with other values
            residual = Fused(
                made, box, size, LowWeights().tensor(torch.device(device)), moved(situation(rows, seed), device)
            )
            found.append(GaussNewton().descend(residual, candidates(count, seed).to(device), 3).energy.cpu())
    half = len(found) // 2
    for cpu, gpu in zip(found[:half], found[half:], strict=True):
        assert gpu == pytest.approx(cpu, rel=5e-2)
