"""Which fed shots can be returned at all, and where each stroke starts: fixed once, before any agent plays.

One recorded run of the oracle over a feed: it is told the shuttle's true state 0.10 s after the launch, plans once, and
the plan is simulated. A shot is feasible if one of five draws of the oracle's candidates ends in a return to any of
five fixed targets. Each stroke starts 0.90 s after the previous contact with the arm as that stroke left it; the base
stands where the real receiver stood, where that is known. Legend: N strokes, J joints.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from hjepa import stroke
from hjepa.arrays import load_arrays, save_arrays
from hjepa.errors import DataError
from hjepa.protocols import World
from hjepa.tasks.badminton.feeds import FeedTable, type_name
from hjepa.tasks.badminton.flight import fly_to
from hjepa.tasks.badminton.oracle import FIXED_TARGETS_M, Oracle, OracleConfig
from hjepa.tasks.badminton.refine import at_net, choose
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.tasks.kinematics import joint_frames
from hjepa.types import NS, Array, JointTrajectory, Observation, RobotSpec, RobotState

RULE = 2  # counts up when the oracle or the rule changes, so that old start states are not reused
NEXT_LAUNCH_S = 0.90  # after a contact
TICKS_PER_S = 100
Progress = Callable[[int, int], None]
_ZONES = ("front left", "front right", "mid left", "mid right", "back left", "back right")
_FRONT_M, _BACK_M = 2.23, 4.47  # thirds of the half court, from the net


class Court(World, Protocol):
    """A simulated world that also tells the truth."""

    def shuttle(self) -> tuple[Array, Array]: ...

    def joints(self) -> RobotState: ...


class Starts(NamedTuple):
    """Where each stroke of a feed starts, and whether it is feasible; the same for every agent."""

    q_rad: Array  # (N, J)
    dq_rad_s: Array  # (N, J)
    feasible: NDArray[np.bool_]  # (N,)
    draws: NDArray[np.int16]  # (N,) draws of the oracle that were needed, or made in vain
    end_q_rad: Array  # (N, J) 0.90 s after the contact
    end_dq_rad_s: Array  # (N, J)

    def state(self, i: int) -> RobotState:
        """Start of stroke i."""
        return RobotState(self.q_rad[i].copy(), self.dq_rad_s[i].copy())

    def take(self, rows: NDArray[np.int64]) -> Starts:
        """Some of them, in that order."""
        columns: list[Any] = [column[rows] for column in self]
        return Starts(*columns)


@dataclass(frozen=True)
class FeasibleConfig:
    """The rule by which a shot counts as feasible."""

    react_s: float = 0.10  # the oracle sees the shuttle so long after the launch; no latency on top
    draws: int = 5
    seed: int = 0
    save_every: int = 25  # strokes


def judge(
    world: Court,
    feed: FeedTable,
    folder: Path | None = None,
    config: FeasibleConfig = FeasibleConfig(),  # noqa: B008 (frozen value)
    *,
    progress: Progress | None = None,
) -> Starts:
    """Start states and feasibility of every fed shot; kept in `folder` under the feed's hash, resumed if cut short."""
    path = None if folder is None else folder / f"starts_{feed_key(world.spec, feed, config)}.npz"
    rows = [] if path is None else _load(path, len(feed.id))
    total, begun = len(feed.id), len(rows)
    if progress:
        progress(begun, total)
    for row in _rows(world, feed, config, rows):
        rows.append(row)
        done = len(rows)
        if path is not None and (done % config.save_every == 0 or done == total):
            save_arrays(path, _stack(rows)._asdict())
        if progress:
            progress(done, total)
    return _stack(rows)


def feed_key(spec: RobotSpec, feed: FeedTable, config: FeasibleConfig) -> str:
    """Hash of everything that the start states depend on: feed, robot, rule."""
    digest = hashlib.sha256()
    rule = (RULE, config.react_s, config.draws, config.seed, astuple(OracleConfig()), spec.name)
    digest.update(repr(rule).encode())
    for column in (feed.id, feed.x0_m, feed.v0_m_s, feed.receiver_xy_m, *_limits(spec)):
        digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()[:16]


def _limits(spec: RobotSpec) -> tuple[Array, ...]:
    return (
        spec.q_min_rad,
        spec.q_max_rad,
        spec.dq_max_rad_s,
        spec.ddq_max_rad_s2,
        spec.T_parent_joint,
        spec.q_home_rad,
    )


def stand(spec: RobotSpec, arm: RobotState, receiver_xy_m: Array) -> RobotState:
    """The robot at rest on its rails where the receiver stood (nan: where it is), its arm as it was left.

    Where the racket would then reach over the net, the base steps back from it.
    """
    q, dq = arm.q_rad.copy(), arm.dq_rad_s.copy()
    if np.isfinite(receiver_xy_m).all():
        q[:2] = np.clip(receiver_xy_m, spec.q_min_rad[:2], spec.q_max_rad[:2])
        dq[:2] = 0.0
        while at_net(spec, joint_frames(spec, q)[-1]) and q[0] > spec.q_min_rad[0]:
            q[0] -= 0.05
    return RobotState(q, dq)


_Row = tuple[Array, Array, bool, int, Array, Array]  # a row of Starts


def _rows(world: Court, feed: FeedTable, config: FeasibleConfig, before: list[_Row]) -> Iterator[_Row]:
    """Rows of Starts from the first that is missing on."""
    spec, oracle = world.spec, Oracle(world.spec)
    state = RobotState(*before[-1][4:]) if before else RobotState(spec.q_home_rad.copy(), np.zeros(spec.joints))
    for i in range(len(before), len(feed.id)):
        start = stand(spec, state, feed.receiver_xy_m[i])
        feasible, draws, state = _try(world, oracle, feed, i, start, config)
        yield start.q_rad, start.dq_rad_s, feasible, draws, state.q_rad, state.dq_rad_s


def _try(
    world: Court, oracle: Oracle, feed: FeedTable, i: int, start: RobotState, config: FeasibleConfig
) -> tuple[bool, int, RobotState]:
    """(feasible, draws made, joints 0.90 s after the contact) of feed i."""
    end, fresh = start, False
    for draw in range(config.draws):
        if not fresh:
            seen = _launch(world, feed, i, start, config)
            now, (x, v) = world.joints(), world.shuttle()
            fresh = True
        rng = np.random.default_rng([config.seed, int(feed.id[i]), draw])
        zero = np.zeros(world.spec.joints)
        state = stroke.JointState(now.q_rad, now.dq_rad_s, zero)
        drawn = oracle.candidates(*state, x, v, FIXED_TARGETS_M, rng)
        swing = None if drawn is None else choose(oracle, drawn, state)
        if swing is None or swing.use > oracle.config.limit:
            continue
        event = stroke.Event(swing.q_hit_rad, swing.dq_hit_rad_s, swing.before_s, swing.time_s)
        world.send(_command(world.spec, state, event, seen.stamp_ns))
        end, fresh = finish(world), False
        if world.outcome().returned:
            return True, draw + 1, end
    return False, config.draws, end


def _launch(world: Court, feed: FeedTable, i: int, start: RobotState, config: FeasibleConfig) -> Observation:
    seen = world.reset(start, feed.launch(i), stroke_seed(config.seed, int(feed.id[i])))
    for _ in range(round(config.react_s * TICKS_PER_S)):
        seen = world.tick()
    return seen


def _command(spec: RobotSpec, state: stroke.JointState, event: stroke.Event, start_ns: int) -> JointTrajectory:
    valid_ns = round((event.to_go_s + stroke.RECOVERY_S + stroke.HOLD_S) * NS)
    return stroke.trajectory(state, event, spec.q_home_rad, spec.ddq_max_rad_s2, start_ns=start_ns, valid_ns=valid_ns)


def finish(world: Court) -> RobotState:
    """Play to the end of the episode; joints 0.90 s after the contact (after the crossing, on a miss)."""
    next_launch = NextLaunch(world)
    while not world.done:
        next_launch.watch(world.tick())
    return next_launch.state()


class NextLaunch:
    """Notes where the robot is when the next shuttle is launched."""

    def __init__(self, world: Court) -> None:
        self._world = world
        self._state: RobotState | None = None

    def watch(self, seen: Observation) -> None:
        """Look at the world after a tick. A nearer crossing, later on, moves the moment."""
        due_s = self._world.outcome().contact_s + NEXT_LAUNCH_S
        if seen.stamp_ns < round(due_s * NS) if np.isfinite(due_s) else True:
            self._state = None
        elif self._state is None:
            self._state = self._world.joints()

    def state(self) -> RobotState:
        """Joints at that moment; where the shuttle never came near, at the end of the episode."""
        return self._world.joints() if self._state is None else self._state


def stroke_seed(seed: int, stroke_id: int) -> int:
    """Seed of one stroke's sensors and agent: the same for every agent and in whatever order strokes are played."""
    return int(np.random.SeedSequence([seed, stroke_id]).generate_state(1)[0] >> 1)


def _stack(rows: list[_Row]) -> Starts:
    if not rows:
        raise DataError("the feed is empty; allowed: at least one stroke")
    q, dq, feasible, draws, end_q, end_dq = zip(*rows, strict=True)
    columns = np.stack(q), np.stack(dq), np.array(feasible, dtype=bool), np.array(draws, dtype=np.int16)
    return Starts(*columns, np.stack(end_q), np.stack(end_dq))


def _load(path: Path, total: int) -> list[_Row]:
    if not path.exists():
        return []
    s = Starts(**load_arrays(path, Starts._fields, "file of start states", "delete it and run again"))
    kept = zip(*s, strict=True)
    return [(q, dq, bool(f), int(n), end_q, end_dq) for q, dq, f, n, end_q, end_dq in kept][:total]


def zone_of(feed: FeedTable) -> NDArray[np.int64]:
    """Zone (N,) of the point where the real receiver hit it back (nobody did: where it fell), index in six zones."""
    x, _ = fly_to(feed.x0_m, feed.v0_m_s, feed.time_s)
    depth = -x[:, 0]
    third = (depth > _FRONT_M).astype(np.int64) + (depth > _BACK_M)
    zone: NDArray[np.int64] = 2 * third + (x[:, 1] < 0.0)
    return zone


def table(feed: FeedTable, feasible: NDArray[np.bool_]) -> str:
    """Markdown: share feasible, number and median launch speed of each shot type by court zone."""
    zone, speed = zone_of(feed), np.linalg.norm(feed.v0_m_s, axis=-1)
    names = [type_name(k) for k in range(len(TYPES))]
    lines = [f"| shot | {' | '.join(_ZONES)} | all |", "|---" * (len(_ZONES) + 2) + "|"]
    for label, mine in [*((name, feed.type == k) for k, name in enumerate(names)), ("all", feed.type > -99)]:
        if mine.any():
            cells = [_cell(mine & (zone == z), feasible, speed) for z in range(len(_ZONES))]
            lines.append(f"| {label} | {' | '.join(cells)} | {_cell(mine, feasible, speed)} |")
    return "\n".join(lines) + "\n"


def _cell(mine: NDArray[np.bool_], feasible: NDArray[np.bool_], speed: Array) -> str:
    n = int(mine.sum())
    return f"{100 * feasible[mine].mean():.0f} % of {n}, {np.median(speed[mine]):.0f} m/s" if n else "-"
