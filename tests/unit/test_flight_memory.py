"""What is recalled of a flight: a hidden shuttle goes on, as one that was seen does; surprise is for what cannot be."""

import numpy as np
import pytest
import torch
from torch import Tensor

from hjepa.models.flight import FlightMemory
from hjepa.models.surprise import FlightSurprise
from hjepa.tasks.badminton.flight import fly, land
from tests import tiny

STARTS = np.array([[5.0, 0.5, 2.0], [4.0, -1.0, 1.2], [6.0, 1.0, 0.8]])
SPEEDS = np.array([[-22.0, 1.0, 6.0], [-14.0, 2.0, 9.0], [-16.0, -2.0, 12.0]])
NOISE_M, DELAY, K = 0.010, 3, 64


@pytest.fixture(scope="module")
def memory() -> FlightMemory:
    return tiny.low().level.encoder.memory


def window(now: int, hidden: slice = slice(0), drag_m: float = 4.5759) -> tuple[Tensor, Tensor]:
    """Windows and masks when so many slots have passed; slots that are hidden, counted from the launch."""
    x, _ = fly(STARTS, SPEEDS, dt_s=0.01, steps=now, L=drag_m)
    seen = x + NOISE_M * np.random.default_rng(0).standard_normal(x.shape)
    mask = np.ones(x.shape[:2])
    mask[:, hidden] = 0.0
    mask[:, now + 1 - DELAY :] = 0.0
    out, there = np.zeros((len(x), K, 3)), np.zeros((len(x), K))
    n = min(K, now + 1)
    out[:, K - n :], there[:, K - n :] = (seen * mask[..., None])[:, -n:], mask[:, -n:]
    return torch.tensor(out, dtype=torch.float32), torch.tensor(there, dtype=torch.float32)


def off_m(memory: FlightMemory, seen: tuple[Tensor, Tensor], now: int, later: int, context: float = 0.0,
          drag_m: float = 4.5759) -> np.ndarray:  # fmt: skip
    """Distance (3,) of where the shuttles are expected `later` slots on from where they are then."""
    c = torch.tensor([[context, 0.0]]).expand(len(STARTS), -1)
    where = memory.where(memory.recall(*seen), c, torch.full((len(STARTS), 1), later * 0.01))
    x, _ = fly(STARTS, SPEEDS, dt_s=0.01, steps=now + later, L=drag_m)
    return np.linalg.norm(where.numpy() - x[:, -1], axis=-1)


def test_a_hidden_shuttle_goes_on_as_one_that_is_seen(memory: FlightMemory) -> None:
    assert off_m(memory, window(50), 50, 30).max() < 0.03
    assert off_m(memory, window(50, slice(30, 50)), 50, 30).max() < 0.06  # not seen for 0.23 s
    assert off_m(memory, window(50, slice(10, 30)), 50, 30).max() < 0.04  # seen again


def test_a_world_of_another_drag_is_told_by_its_context(memory: FlightMemory) -> None:
    seen, context = window(55, drag_m=5.2), (5.2 - 4.5759) / 0.4
    told = off_m(memory, seen, 55, 40, context, 5.2)
    assert told.max() < 0.08
    assert (told < off_m(memory, seen, 55, 40, 0.0, 5.2)).all()


def test_a_flight_says_what_world_it_is_in_and_how_sure_that_is(memory: FlightMemory) -> None:
    early, late = (memory.recall(*window(now, drag_m=5.2)) for now in (20, 60))
    said, doubt = late[:, 18], late[:, 20]
    assert ((said - 1.56).abs() < 3.0 * doubt + 0.1).all()
    assert (doubt < early[:, 20]).all() and (late[:, 21] > 0.9).all()  # rebound shows in no flight


def test_samples_that_are_missing_are_filled_in_where_the_shuttle_was(memory: FlightMemory) -> None:
    whole, gap = window(50), window(50, slice(25, 45))
    filled, known = memory.filled(*gap, memory.recall(*gap))
    assert torch.equal(known, whole[1])
    assert ((filled - whole[0]).norm(dim=-1) * known).max() < 0.08
    assert torch.equal(filled * gap[1][..., None], gap[0])  # what was measured stays


def test_no_sample_at_all_is_still_finite(memory: FlightMemory) -> None:
    assert torch.isfinite(memory.recall(torch.zeros(2, K, 3), torch.zeros(2, K))).all()


def moved(now: int, since: int, by: tuple[float, float, float]) -> tuple[Tensor, Tensor]:
    """Windows of shuttles that are elsewhere from a slot on."""
    seen, mask = window(now)
    late = torch.arange(K) >= K - 1 - (now - since)
    return (seen + late[:, None] * torch.tensor(by)) * mask[..., None], mask


def test_a_shuttle_that_jumps_surprises_and_one_that_flies_does_not(memory: FlightMemory) -> None:
    surprise = FlightSurprise(memory)
    assert surprise(*window(50)).score.max() < 5.0
    assert surprise(*window(50, slice(20, 40))).score.max() < 5.0  # seen again where it should be
    assert surprise(*moved(50, 42, (0.0, 0.0, 0.3))).score.min() > 20.0


def test_a_noisier_tracker_is_no_surprise(memory: FlightMemory) -> None:
    seen, mask = window(50)
    noise = 0.03 * torch.randn(seen.shape, generator=torch.Generator().manual_seed(0))
    assert FlightSurprise(memory)((seen + noise) * mask[..., None], mask).score.max() < 8.0


def test_it_says_how_long_nothing_was_seen(memory: FlightMemory) -> None:
    assert FlightSurprise(memory)(*window(50, slice(30, 51))).unseen == pytest.approx(torch.full((3,), 21.0))


def test_a_shuttle_that_flies_through_the_net_surprises_and_one_that_is_stopped_does_not(memory: FlightMemory) -> None:
    x, _ = fly(np.array([[3.0, 0.0, 1.6]]), np.array([[-14.0, 0.0, 0.5]]), dt_s=0.01, steps=50)
    meets = int(np.argmax(x[0, :, 0] < 0.0))
    assert x[0, meets, 2] < 1.4  # well below the tape
    stopped = x.copy()
    stopped[0, meets:] = np.array([0.0, 0.0, x[0, meets, 2]]) - np.arange(51 - meets)[:, None] * [0.0, 0.0, 0.01]
    score = {}
    for name, path in (("through", x), ("stopped", stopped)):
        now = meets + 8
        seen = np.zeros((1, K, 3))
        seen[0, K - now :] = path[0, :now] + 0.01 * np.random.default_rng(1).standard_normal((now, 3))
        mask = (np.abs(seen).sum(-1) > 0).astype(np.float32)
        score[name] = FlightSurprise(memory)(torch.tensor(seen).float(), torch.tensor(mask))
    assert score["stopped"].score < 3.0
    assert score["through"].score > 6.0 and score["through"].stopped > 0.5


def test_landing_of_what_is_recalled_is_that_of_the_flight(memory: FlightMemory) -> None:
    x, v = fly(STARTS, SPEEDS, dt_s=0.01, steps=1)
    truth = land(x[:, 0], v[:, 0], 4.5759)
    recalled = memory.recall(*window(55))
    left = torch.tensor(truth.time_s - 0.55, dtype=torch.float32)[:, None]
    at = memory.where(recalled, torch.zeros(3, 2), left)
    assert np.linalg.norm(at[:, :2].numpy() - truth.xy_m, axis=-1).max() < 0.08
    assert at[:, 2].abs().max() < 0.08
