"""Plain and recorded programs give the same numbers, whatever the situation and however many candidates."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hjepa.models.layers import for_search
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.held import limits_of, residual_count
from hjepa.planning.objectives import Limits, LowWeights, Situation, StrokeResidual
from hjepa.planning.programs import Fused, LowPrograms, example, plain, recorded
from hjepa.planning.several import Several
from tests import tiny

LIMITS, WEIGHTS = limits_of(tiny.SPEC), LowWeights()
LEVEL = tiny.low().level
RECORDED = recorded(for_search(LEVEL), LIMITS, tiny.SPEC.joints)


def situation(rows: int, seed: int) -> Situation:
    g = torch.Generator().manual_seed(seed)
    q = torch.tensor(tiny.SPEC.q_home_rad, dtype=torch.float32)[None] + 0.1 * torch.randn(1, 8, generator=g)
    z, goal = torch.randn(1, tiny.LOW.whole, generator=g), torch.randn(rows, tiny.LOW.goal, generator=g)
    dq, ddq = torch.randn(2, 1, 8, generator=g)
    return Situation(z, q, dq, ddq, 0.01 * seed, goal, torch.randn(rows, tiny.LOW.goal, tiny.LOW.goal, generator=g))


def fused(programs: LowPrograms, s: Situation) -> Fused:
    low, high = StrokeResidual(LEVEL, LIMITS, WEIGHTS, s).low, StrokeResidual(LEVEL, LIMITS, WEIGHTS, s).high
    return Fused(programs, (low, high), residual_count(LEVEL, programs, tiny.SPEC.joints), WEIGHTS.tensor(), s)


def candidates(count: int, seed: int) -> torch.Tensor:
    x = 0.5 * torch.randn(count, len(LEVEL.codec.low) + 1, generator=torch.Generator().manual_seed(seed))
    x[:, -1] += 3.0
    return x


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (1, 17), (12, 12), (3, 24)])
def test_recorded_and_plain_residuals_agree(rows: int, count: int) -> None:
    for seed in (1, 2):
        s, x = situation(rows, seed), candidates(count, seed)
        straight = Several(lambda at: StrokeResidual(LEVEL, LIMITS, WEIGHTS, at), s)
        with torch.no_grad():
            found = fused(RECORDED, s)
            assert found(x) == pytest.approx(straight(x), rel=1e-3, abs=1e-3)
            assert found.energy(x) == pytest.approx(straight.energy(x), rel=1e-3)


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (1, 3), (8, 8)])
def test_a_search_in_whole_iterations_is_the_search_call_by_call(rows: int, count: int) -> None:
    s, x = situation(rows, 5), candidates(count, 6)
    straight = Several(lambda at: StrokeResidual(LEVEL, LIMITS, WEIGHTS, at), s)
    wanted = GaussNewton().descend(straight, x, 2)
    for programs in (plain(LEVEL, LIMITS), RECORDED):
        found = GaussNewton().descend(fused(programs, s), x, 2)
        assert found.energy == pytest.approx(wanted.energy, rel=1e-2)
        assert found.begun == pytest.approx(wanted.begun, rel=1e-3, abs=1e-3)
        assert found.evaluations == wanted.evaluations == count * (2 * x.shape[1] + 3)
    begun = 0.5 * (found.begun**2).sum(-1)
    assert (found.energy <= begun).all()
    assert (found.energy < 0.99 * begun).any()


def test_the_other_programs_agree_too() -> None:
    straight = plain(LEVEL, LIMITS)
    c = tiny.LOW
    for seed in (3, 4):
        g = torch.Generator().manual_seed(seed)
        mask = (torch.rand(1, c.window, generator=g) > 0.3).float()
        window = torch.randn(1, c.window, 3, generator=g) * mask[..., None]
        joints = torch.randn(2, 1, 8, generator=g)
        x = candidates(1, seed)
        with torch.no_grad():
            z = straight.see(window, mask, *joints)
            assert RECORDED.see(window, mask, *joints) == pytest.approx(z, rel=1e-3, abs=1e-4)
            pairs = zip(
                (*RECORDED.decode(x[:, :-1]), *RECORDED.foresee(z, x)),
                (*straight.decode(x[:, :-1]), *straight.foresee(z, x)),
                strict=True,
            )
            for got, wanted in pairs:
                assert got == pytest.approx(wanted, rel=1e-3, abs=1e-3)


class HostRefused(TorchDispatchMode):
    """Refuses tensors of the CPU: copying one to a GPU has no place in a CUDA graph."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        found = [x for x in torch.utils._pytree.tree_leaves((args, kwargs, out)) if isinstance(x, torch.Tensor)]
        assert all(x.device.type == "meta" for x in found), f"{func} touches the host"
        return out


@pytest.mark.parametrize("name", LowPrograms._fields)
def test_programs_take_nothing_from_the_host(name: str) -> None:
    """Stands for the capture of a CUDA graph where there is no GPU: on a device whose tensors hold no values."""
    level = for_search(LEVEL).to("meta")
    shapes = example(level, tiny.SPEC.joints)
    limits = Limits(*(limit.to("meta") for limit in LIMITS))
    made, count = plain(level, limits), residual_count(LEVEL, plain(LEVEL, LIMITS), tiny.SPEC.joints)
    inputs = {
        "see": shapes.see, "decode": shapes.decode, "foresee": shapes.foresee, "residuals": shapes.residuals(3),
        "iterate": shapes.iterate(3, count),
    }[name]  # fmt: skip
    with torch.no_grad(), HostRefused():
        getattr(made, name)(*inputs)
