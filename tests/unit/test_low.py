"""The low level's parts: shapes, the frame it sees in, and its checkpoint."""

import math

import pytest
import torch
from torch import Tensor

from hjepa.errors import WeightsError
from hjepa.models.low import HEADS, POSE, LowAction, LowBundle, LowFuture, LowInput, load_low, save_low
from tests import tiny

B, K, J = 4, tiny.LOW.window, tiny.LOW.joints
D, E, G = tiny.LOW.latent, tiny.LOW.outcome, tiny.LOW.goal


@pytest.fixture(scope="module")
def bundle() -> LowBundle:
    return tiny.low()


def seen(seed: int = 0) -> LowInput:
    """Flights towards -x, all slots but the latest three measured."""
    g = torch.Generator().manual_seed(seed)
    t = torch.arange(K) * 0.01
    start = torch.tensor([5.0, 0.0, 2.0]) + 0.3 * torch.randn(B, 3, generator=g)
    speed = torch.tensor([-9.0, 0.5, 3.0]) + torch.randn(B, 3, generator=g)
    window = start[:, None] + speed[:, None] * t[:, None] - 4.9 * t[:, None] ** 2 * torch.tensor([0.0, 0.0, 1.0])
    mask = torch.ones(B, K)
    mask[:, -3:] = 0.0
    q, dq = torch.randn(2, B, J, generator=g)
    return LowInput(window * mask[..., None], mask, q, dq)


def test_shapes(bundle: LowBundle) -> None:
    level, x = bundle.level, seen()
    z = level.encode(x)
    m, to_go = torch.randn(B, level.codec.config.latent), torch.full((B, 1), 0.6)
    assert z.shape == (B, tiny.LOW.whole)
    outcome, gap = level.foresee(z, m, to_go)
    assert outcome.shape == (B, E)
    assert gap.shape == (B, 3)
    assert torch.allclose(level.predict(z, LowAction(m, to_go)), outcome)
    assert level.goal_of(outcome).shape == (B, G)
    assert {k: v.shape for k, v in level.read(outcome).items()} == {k: (B, n) for k, n in HEADS.items()}
    assert level.rollout(z, torch.randn(B, 3, J), torch.randn(B, 3, J)).shape == (B, 3, D)
    future = LowFuture(torch.randn(B, 40, 3), torch.ones(B, 40), torch.randn(B, 5, J), torch.randn(B, 5, J))
    assert level.target(future).shape == (B, E)
    assert bundle.proposal(z, torch.randn(B, G), x.q_rad, x.dq_rad_s).shape == (B, 4, m.shape[1] + 1)


def turned(x: Tensor, angle: float, shift: tuple[float, float, float]) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return x @ torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]]) + torch.tensor(shift)


def test_a_flight_looks_the_same_from_anywhere_and_in_any_direction(bundle: LowBundle) -> None:
    x = seen()
    there = x._replace(window_m=turned(x.window_m, 0.7, (-1.0, 2.0, 0.0)) * x.mask[..., None])
    z, moved = bundle.level.encode(x), bundle.level.encode(there)
    features, place = slice(0, tiny.LOW.state - POSE), slice(tiny.LOW.state - POSE, tiny.LOW.state - 2)
    assert moved[:, features] == pytest.approx(z[:, features], abs=2e-3)
    assert moved[:, place] == pytest.approx(turned(z[:, place], 0.7, (-1.0, 2.0, 0.0)), abs=2e-3)
    lower = x._replace(window_m=turned(x.window_m, 0.0, (0.0, 0.0, -0.8)) * x.mask[..., None])
    assert (bundle.level.encode(lower)[:, features] - z[:, features]).abs().max() > 1e-2  # height does matter


def test_what_is_masked_is_not_seen(bundle: LowBundle) -> None:
    x = seen()
    other = x.window_m.clone()
    other[:, -3:] = 99.0
    assert bundle.level.encode(x._replace(window_m=other)) == pytest.approx(bundle.level.encode(x), abs=1e-4)


def test_hardly_anything_seen_is_still_finite(bundle: LowBundle) -> None:
    x = seen()
    mask = torch.zeros(B, K)
    mask[1:, -4] = 1.0
    z = bundle.level.encode(x._replace(window_m=x.window_m * mask[..., None], mask=mask))
    assert torch.isfinite(z).all()


def test_a_level_is_saved_and_loaded_whole(bundle: LowBundle, tmp_path) -> None:
    save_low(tmp_path / "low.safetensors", bundle)
    again = load_low(tmp_path / "low.safetensors")
    x, m, t = seen(), torch.randn(B, bundle.level.codec.config.latent), torch.full((B, 1), 0.5)
    for ours, theirs in ((bundle, again), (again, bundle)):
        z = ours.level.encode(x)
        assert torch.equal(z, theirs.level.encode(x))
        assert torch.equal(ours.level.foresee(z, m, t)[0], theirs.level.foresee(z, m, t)[0])
        goal = torch.zeros(B, G)
        assert torch.equal(*(p.proposal(z, goal, x.q_rad, x.dq_rad_s) for p in (ours, theirs)))
    assert again.header["robot"] == "courtbot"
    assert again.header["seed"] == 7
    assert [p.name for p in tmp_path.iterdir()] == ["low.safetensors"]


def test_weights_of_another_kind_are_refused(tmp_path, weights) -> None:
    with pytest.raises(WeightsError, match="holds no low level of this version"):
        load_low(weights / "high.safetensors")
