"""Babbling out of recordings. Run: pytest tests/unit/test_recorded_motion.py"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.training.babble import BabbleConfig, load_babble, swing
from hjepa.training.recorded import Recorded, pieces_of, save_pieces
from hjepa.types import NS, Array, JointTrajectory, Observation
from robots.spec import load_spec

PANDA = load_spec("panda")
MOTION = swing(PANDA, BabbleConfig(shard_s=12.0), np.random.default_rng(0))  # 10 ms samples, knots every 0.1 s
BEGIN_NS = 5 * NS + 3_210_000  # of no round number


def place(t_s: Array) -> Array:
    return np.stack([np.sin(t_s), np.cos(t_s), 0.1 * t_s], axis=-1)


def at(t_s: float) -> tuple[Array, Array]:
    """Joints of the motion, at rest before it."""
    t = np.arange(len(MOTION.q_rad)) * MOTION.dt_s
    return tuple(np.array([np.interp(t_s, t, c) for c in x.T]) for x in (MOTION.q_rad, MOTION.dq_rad_s))  # type: ignore[return-value]


def seen(t_s: float, delay_s: float = 0.03, mask: bool = True) -> Observation:
    """A reading at a time of the motion, with a tracker whose places arrive late."""
    stamp = BEGIN_NS + round(t_s * NS)
    slots = stamp + 10_000_000 * np.arange(-63, 1)
    known = (slots <= stamp - round(delay_s * NS)) & mask
    xyz = np.where(known[:, None], place((slots - BEGIN_NS) / NS), 0.0)
    return Observation(stamp, *at(t_s), xyz, known, slots)


def windows() -> list[JointTrajectory]:
    """The motion as commands of half a second, one every 0.1 s."""
    return [
        JointTrajectory(
            BEGIN_NS + i * 10_000_000, 0.01, MOTION.q_rad[i : i + 51], MOTION.dq_rad_s[i : i + 51], 400_000_000
        )
        for i in range(0, len(MOTION.q_rad), 10)
    ]


def times(period_s: float = 0.0083) -> Array:
    return np.arange(-0.2, 12.0, period_s)


def test_readings_at_any_rate_come_onto_the_grid_of_the_commands() -> None:
    (piece,) = pieces_of(Recorded([seen(t) for t in times()], windows()))
    n = len(piece.mask)
    t = 0.01 * np.arange(n)
    assert n > 1190
    rest = slice(2, None)  # it begins with a jolt from standing still
    np.testing.assert_allclose(piece.q_rad[rest], np.array([at(x)[0] for x in t])[rest], atol=2e-4)
    np.testing.assert_allclose(piece.dq_rad_s[rest], np.array([at(x)[1] for x in t])[rest], atol=2e-2)


def test_actions_are_the_speeds_asked_for_at_the_ends_of_the_chunks() -> None:
    (piece,) = pieces_of(Recorded([seen(t) for t in times()], windows()))
    knots = np.flatnonzero(np.isfinite(piece.knots_rad_s).all(axis=1))
    np.testing.assert_array_equal(knots, 10 * np.arange(len(knots)))
    np.testing.assert_allclose(piece.knots_rad_s[knots], MOTION.dq_rad_s[10 * np.arange(1, len(knots) + 1)], atol=1e-9)


def test_a_late_tracker_is_put_where_it_measured_not_where_it_arrived() -> None:
    (piece,) = pieces_of(Recorded([seen(t, delay_s=0.05) for t in times()], windows()))
    known = piece.mask > 0
    assert known[:-10].all()
    assert not known[-3:].any()
    np.testing.assert_allclose(piece.seen_m[known], place(0.01 * np.flatnonzero(known)), atol=1e-4)
    assert not piece.seen_m[~known].any()


def test_a_pause_in_the_recording_begins_a_new_piece_and_no_command_no_action() -> None:
    readings = [seen(t) for t in times() if not 5.0 < t < 5.5]
    first, second = pieces_of(Recorded(readings, [c for c in windows() if c.start_ns < BEGIN_NS + 8 * NS]))
    assert len(first.mask) == pytest.approx(500, abs=3)
    assert len(second.mask) == pytest.approx(650, abs=3)
    last = np.flatnonzero(np.isfinite(second.knots_rad_s).all(axis=1))[-1]
    assert 0.01 * last + 5.5 < 8.4  # the last command runs out at 8.3


def test_pieces_become_shards_that_the_training_reads(tmp_path: Path) -> None:
    pieces = pieces_of(Recorded([seen(t) for t in times()], windows()))
    kept = save_pieces(tmp_path, PANDA, pieces)
    babble = load_babble(tmp_path, PANDA)
    assert len(babble.q_rad) == kept
    assert babble.shard.max() == 3  # 12 s: four pieces, none shorter than 3 s
    np.testing.assert_allclose(babble.q_rad, pieces[0].q_rad[:kept], atol=1e-6)
    with pytest.raises(DataError, match="another robot"):
        load_babble(tmp_path, load_spec("iiwa"))


@pytest.mark.parametrize(
    ("recorded", "says"),
    [
        (Recorded([], []), "no observations or no commands"),
        (Recorded([seen(0.01 * k) for k in range(100)], windows()), "no unbroken stretch of 3 s"),
        (Recorded([seen(t, mask=False) for t in times()], windows()), "tracker saw nothing"),
        (Recorded([seen(t) for t in times()], windows()[:1]), ""),
        (Recorded([seen(t) for t in times()], [windows()[0]._replace(valid_ns=1)]), "no command was in force"),
    ],
)
def test_what_nothing_can_be_learned_from_is_refused(recorded: Recorded, says: str, tmp_path: Path) -> None:
    if not says:
        assert save_pieces(tmp_path, PANDA, pieces_of(recorded)) > 0
        return
    with pytest.raises(DataError, match=says):
        save_pieces(tmp_path, PANDA, pieces_of(recorded))


def test_motion_in_one_piece_is_too_little_to_train_and_test_on(tmp_path: Path) -> None:
    from hjepa.training.babbled import BabbledTraining, train_babbled

    (piece, *_) = pieces_of(Recorded([seen(t) for t in times() if t < 5.0], windows()))
    save_pieces(tmp_path, PANDA, [piece])
    babble = load_babble(tmp_path, PANDA)
    with pytest.raises(DataError, match="s of motion in 1 pieces: too little to learn from"):
        train_babbled(
            PANDA, babble, lambda seed: pytest.fail("watches"), BabbledTraining(steps=1), tmp_path, tmp_path / "w"
        )
