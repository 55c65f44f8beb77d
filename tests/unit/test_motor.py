"""The motor codec: shapes, what a latent's parts mean, and the way to the event it names."""

import numpy as np
import pytest
import torch

from hjepa import motion
from hjepa.errors import WeightsError
from hjepa.models.checkpoint import load_codec, save, save_codec
from hjepa.models.motor import MotorCodec, MotorConfig
from hjepa.tasks.kinematics import racket_motion
from hjepa.training.body import BodyConfig, RacketKinematics, fit_codec
from hjepa.training.teacher import Events
from tests import tiny

B, J = 5, 8
M = MotorConfig().latent


@pytest.fixture(scope="module")
def codec() -> MotorCodec:
    return tiny.codec()


def latents(seed: int = 0) -> torch.Tensor:
    return torch.randn(B, M, generator=torch.Generator().manual_seed(seed))


def test_shapes(codec: MotorCodec) -> None:
    m = latents()
    event = codec.decode(m)
    assert [tuple(part.shape) for part in event] == [(B, J), (B, J), (B, 1)]
    assert codec.read_racket(m).shape == (B, 8)
    assert codec.encode(event.q_rad, event.dq_rad_s, torch.zeros(B, 2), event.before_s).shape == (B, M)
    assert codec.off_support(m, event).shape == (B, 12)


def test_moving_the_contact_point_moves_the_base_alone_and_as_far(codec: MotorCodec) -> None:
    m = latents()
    moved = m.clone()
    moved[:, 12:14] += torch.tensor([0.4, -0.7]) / codec.xy_std
    here, there = codec.decode(m), codec.decode(moved)
    assert there.q_rad[:, :2] - here.q_rad[:, :2] == pytest.approx(torch.tensor([[0.4, -0.7]] * B), abs=1e-5)
    assert torch.equal(there.q_rad[:, 2:], here.q_rad[:, 2:])
    assert torch.equal(there.dq_rad_s, here.dq_rad_s)


def test_the_last_number_is_the_switch_alone_and_is_kept_within_reason(codec: MotorCodec) -> None:
    m = latents()
    other = m.clone()
    other[:, -1] = 9.0
    assert torch.equal(codec.decode(other).q_rad, codec.decode(m).q_rad)
    assert codec.decode(other).before_s.tolist() == [[1.0]] * B
    other[:, -1] = -9.0
    assert codec.decode(other).before_s == pytest.approx(torch.full((B, 1), 0.05))


def test_contact_point_and_switch_survive_decoding_and_encoding(codec: MotorCodec) -> None:
    m = latents(1)
    event = codec.decode(m)
    contact = m[:, 12:14] * codec.xy_std + codec.xy_mean
    again = codec.encode(event.q_rad, event.dq_rad_s, contact, event.before_s)
    assert again[:, 12:] == pytest.approx(m[:, 12:], abs=1e-4)


def test_the_way_ends_in_the_event(codec: MotorCodec) -> None:
    event = codec.decode(latents(2))
    q = torch.tensor(tiny.SPEC.q_home_rad, dtype=torch.float32)[None]
    way = codec.approach(event, q, 0 * q, 0 * q, torch.full((B, 1), 0.8))
    end = motion.evaluate(way, way.duration_s)
    assert end[0] == pytest.approx(event.q_rad, abs=1e-4)
    assert end[1] == pytest.approx(event.dq_rad_s, abs=1e-4)


def test_a_codec_is_saved_and_loaded_whole(codec: MotorCodec, tmp_path) -> None:
    save_codec(tmp_path / "codec.safetensors", codec, {"errors": {"position_m": 0.01}})
    again = load_codec(tmp_path / "codec.safetensors")
    m = latents(3)
    for ours, theirs in zip(codec.decode(m), again.decode(m)):
        assert torch.equal(ours, theirs)
    assert not any(p.requires_grad for p in again.parameters())


def test_damaged_or_missing_weights_are_named(tmp_path) -> None:
    path = tmp_path / "codec.safetensors"
    with pytest.raises(WeightsError, match="no weights at .*codec.safetensors"):
        load_codec(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="is not a hjepa checkpoint"):
        load_codec(path)
    save(path, {"motor.low": torch.zeros(3)}, {"motor": tiny.codec().describe()})
    with pytest.raises(WeightsError, match="weights of 'motor' do not fit"):
        load_codec(path)


def test_the_kinematics_of_training_are_those_of_the_task() -> None:
    rng = np.random.default_rng(0)
    q = tiny.SPEC.q_home_rad + rng.normal(0.0, 0.5, (B, J))
    dq = rng.normal(0.0, 2.0, (B, J))
    ours = RacketKinematics(tiny.SPEC)(*(torch.tensor(x, dtype=torch.float32) for x in (q, dq)))
    theirs = racket_motion(tiny.SPEC, q, dq)
    assert ours[0].numpy() == pytest.approx(theirs.centre_m, abs=1e-4)
    assert ours[1].numpy() == pytest.approx(theirs.rotation[..., 2], abs=1e-4)
    assert ours[2].numpy() == pytest.approx(theirs.v_m_s, abs=1e-3)


def test_fitting_brings_the_racket_nearer_and_repeats_for_a_seed() -> None:
    rng = np.random.default_rng(1)
    n = 400
    q = tiny.SPEC.q_home_rad + rng.normal(0.0, 0.3, (n, J))
    dq = rng.normal(0.0, 1.0, (n, J))
    centre = racket_motion(tiny.SPEC, q, dq).centre_m
    events = Events(np.zeros((n, J)), q, dq, np.full(n, 0.8), rng.uniform(0.2, 0.5, n), centre)
    small = MotorConfig(width=32, depth=1)
    errors = [
        fit_codec(events, tiny.SPEC, BodyConfig(steps=steps, batch=64), small)[1]["position_m"]
        for steps in (2, 150, 150)
    ]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] == errors[2]
