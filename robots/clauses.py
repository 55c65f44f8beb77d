"""The contract of every driver, clause by clause; robots/check.py runs it.

A clause gets a bench whose driver is connected and armed (`fresh`: not even connected) and raises ContractBroken, or
whatever the driver raises, if the driver fails it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from hjepa.errors import CommandError, RobotError
from hjepa.types import NS, JointTrajectory, Observation
from robots.bench import DT_S, MOVE_S, Bench, Kind, demand, refused
from robots.sensors import SLOT_NS, WINDOW
from robots.trackers import copied


class Clause(NamedTuple):
    """One promise."""

    name: str
    test: Callable[[Bench], None]
    fits: Callable[[Kind], bool]
    fresh: bool = False  # wants the driver not connected yet
    tame: bool = True  # may be tried on hardware


_CLAUSES: list[Clause] = []


def _clause(
    name: str, fits: Callable[[Kind], bool] = lambda kind: True, *, fresh: bool = False, tame: bool = True
) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    def add(test: Callable[[Bench], None]) -> Callable[[Bench], None]:
        _CLAUSES.append(Clause(name, test, fits, fresh, tame))
        return test

    return add


def clauses(kind: Kind, hardware: bool = False) -> tuple[Clause, ...]:
    """The clauses that a kind of driver has to keep; on hardware the tame ones."""
    return tuple(c for c in _CLAUSES if c.fits(kind) and (c.tame or not hardware))


def _moves(kind: Kind) -> bool:
    return kind.follows


def _equal(one: tuple[Any, ...], two: tuple[Any, ...]) -> bool:
    """Whether two observations or commands are the same, number for number."""
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


# life cycle


@_clause("its spec is readable before connect", fresh=True)
def _spec(b: Bench) -> None:
    spec = b.driver.spec
    demand(spec.joints == len(spec.q_home_rad) > 0, f"spec has {spec.joints} joints, home {len(spec.q_home_rad)}")


@_clause("use before connect is refused and says what to do", fresh=True)
def _unconnected(b: Bench) -> None:
    spec = b.driver.spec
    command = JointTrajectory(0, DT_S, spec.q_home_rad[None], np.zeros((1, spec.joints)), NS)
    verbs: list[Callable[[], Any]] = [b.driver.observe, b.driver.hold, b.driver.rearm, partial(b.driver.send, command)]
    if b.kind.world:
        verbs += [b.driver.tick, partial(b.reset, b.driver, 0)]
    for verb in verbs:
        refused(verb, RobotError, "connect")


@_clause("connecting twice is refused")
def _twice(b: Bench) -> None:
    refused(b.driver.connect, RobotError, "already connected")
    b.driver.observe()


@_clause("closing twice is fine and ends its use")
def _closed(b: Bench) -> None:
    b.driver.close()
    b.driver.close()
    refused(b.driver.observe, RobotError, "connect")


@_clause("it can be connected again after close")
def _again(b: Bench) -> None:
    b.driver.close()
    b.connect()
    b.driver.observe()


@_clause("its context manager closes it on an error", fresh=True)
def _context(b: Bench) -> None:
    try:
        with b.driver:
            raise KeyError
    except KeyError:
        pass
    refused(b.driver.observe, RobotError, "connect")


# observations


@_clause("an observation has the spec's shapes and makes sense")
def _shapes(b: Bench) -> None:
    seen, joints = b.wait(0.05), b.driver.spec.joints
    shapes = [a.shape for a in seen[1:]]
    expected = [(joints,), (joints,), (WINDOW, 3), (WINDOW,), (WINDOW,)]
    demand(shapes == expected, f"shapes are {shapes}; expected: {expected}")
    kinds = (seen.tracker_mask.dtype, seen.tracker_stamp_ns.dtype)
    demand(kinds == (np.bool_, np.int64), f"tracker mask and stamps are {kinds}; expected: bool, int64")
    demand(all(np.isfinite(a).all() for a in seen[1:]), "it holds values that are not finite")
    demand(seen.tracker_stamp_ns[-1] == seen.stamp_ns, "the tracker's newest slot is not of the observation's time")
    demand((np.diff(seen.tracker_stamp_ns) == SLOT_NS).all(), "the tracker's slots are not 10 ms apart")
    demand(not seen.tracker_xyz_m[~seen.tracker_mask].any(), "a masked slot holds something else than zeros")


@_clause("stamps go forward")
def _stamps(b: Bench) -> None:
    stamps = [seen.stamp_ns for seen in b.play(b.now_ns + NS // 10)]
    demand(len(stamps) >= 3, f"{len(stamps)} observations within 0.1 s; expected: at least 3")
    demand((np.diff(stamps) > 0).all(), f"stamps go back: {stamps}")


@_clause("arrays handed out are copies")
def _copies(b: Bench) -> None:
    seen = b.wait(0.02)
    kept = copied(seen)
    for array in seen[1:]:
        array[...] = 1
    again = b.driver.observe()
    if again.stamp_ns == kept.stamp_ns:
        demand(_equal(again, kept), "an observation changed when its receiver wrote into an earlier one")
    demand(not np.array_equal(again.q_rad, np.ones_like(again.q_rad)), "the driver's own joints were overwritten")


# commands


@_clause("send returns what will be followed, clipped to the limits")
def _clipped(b: Bench) -> None:
    spec, far_ns = b.driver.spec, b.now_ns + 60 * NS  # never comes: a hold forgets it
    shape = (60, spec.joints)
    wild = JointTrajectory(far_ns, DT_S, np.full(shape, 99.0), np.full(shape, -99.0), NS)
    followed = b.driver.send(wild)
    demand((followed.q_rad == spec.q_max_rad).all(), "positions beyond the range were not clipped to it")
    demand((followed.dq_rad_s == -spec.dq_max_rad_s).all(), "speeds beyond the limit were not clipped to it")
    mild = b.stay(far_ns, np.clip(b.begin_rad, spec.q_min_rad, spec.q_max_rad))
    demand(_equal(b.driver.send(mild), mild), "a command within the limits came back changed")
    b.driver.hold()


def _bad(b: Bench, what: str) -> tuple[JointTrajectory, str]:
    """A command with one mistake, and what the refusal has to say."""
    good = b.slide(b.soon(0.05))
    joints = b.driver.spec.joints
    nan, infinite = good.q_rad.copy(), good.dq_rad_s.copy()
    nan[3, joints - 1], infinite[0, 0] = np.nan, np.inf
    return {
        "nan": (good._replace(q_rad=nan), f"q_rad is nan at sample 3, joint {b.driver.spec.joint_names[-1]}"),
        "inf": (good._replace(dq_rad_s=infinite), "dq_rad_s is inf"),
        "the wrong width": (good._replace(q_rad=good.q_rad[:, :-1]), f"allowed: (H, {joints})"),
        "no samples": (good._replace(q_rad=good.q_rad[:0], dq_rad_s=good.dq_rad_s[:0]), "H >= 1"),
        "one dimension": (good._replace(q_rad=good.q_rad[0]), "shape"),
        "uneven arrays": (good._replace(dq_rad_s=good.dq_rad_s[:-1]), "equally many"),
        "dt 0": (good._replace(dt_s=0.0), "dt_s is 0.0"),
        "validity 0": (good._replace(valid_ns=0), "valid_ns is 0"),
        "an expiry in the past": (good._replace(start_ns=b.now_ns - 3 * SLOT_NS, valid_ns=SLOT_NS), "expired"),
    }[what]


def _refuses(what: str, b: Bench) -> None:
    rest = b.wait(0.05)
    command, says = _bad(b, what)
    refused(lambda: b.driver.send(command), CommandError, says)
    if b.kind.follows:
        b.demand_at(b.wait(0.3), rest.q_rad, "after the refused command")


_WRONG = (
    *("nan", "inf", "the wrong width", "no samples", "one dimension", "uneven arrays"),
    *("dt 0", "validity 0", "an expiry in the past"),
)
for _what in _WRONG:
    _clause(f"a command with {_what} is refused and moves nothing")(partial(_refuses, _what))


@_clause("a command is followed to its end, whatever its sender does to it afterwards", _moves)
def _followed(b: Bench) -> None:
    command = b.slide(b.soon())
    end = command.q_rad[-1].copy()
    followed = b.driver.send(command)
    command.q_rad[...] = 0.0
    followed.q_rad[...] = 0.0
    b.demand_at(b.play(command.start_ns + round((MOVE_S + 0.2) * NS))[-1], end, "at the end of the command")


@_clause("a motion is followed on its way", _moves)
def _path(b: Bench) -> None:
    command = b.slide(b.soon())
    b.driver.send(command)
    worst = 0.0
    for seen in b.play(command.start_ns + round(MOVE_S * NS)):
        i = np.clip((seen.stamp_ns - command.start_ns) / (DT_S * NS), 0, len(command.q_rad) - 1)
        there = command.q_rad[int(i)] + (i - int(i)) * (command.q_rad[min(int(i) + 1, 60)] - command.q_rad[int(i)])
        worst = max(worst, float(np.abs(seen.q_rad - there).max()))
    allowed = b.tolerance.path_rad
    demand(worst <= allowed, f"it was {worst:.4f} rad beside the command; allowed: {allowed}")


@_clause("a command waits for its start", _moves)
def _waits(b: Bench) -> None:
    command = b.slide(b.soon(0.1))
    b.driver.send(command)
    b.demand_at(b.play(command.start_ns)[-1], b.begin_rad, "before the command's start")
    b.demand_moving(b.play(command.start_ns + round(0.5 * MOVE_S * NS))[-1], "half way")


@_clause("a later command takes over at its start", _moves)
def _takes_over(b: Bench) -> None:
    one = b.slide(b.soon())
    b.driver.send(one)
    b.driver.send(b.stay(one.start_ns + 30 * SLOT_NS, one.q_rad[30]))
    b.demand_at(b.play(one.start_ns + 75 * SLOT_NS)[-1], one.q_rad[30], "at the end of the later command")


@_clause("a command that starts before the one being followed is refused", _moves)
def _older(b: Bench) -> None:
    one = b.slide(b.soon(0.02))
    b.driver.send(one)
    b.play(one.start_ns + 3 * SLOT_NS)
    refused(lambda: b.driver.send(b.slide(one.start_ns - SLOT_NS)), CommandError, "before the one being followed")


@_clause("it brakes and holds when the command expires", _moves)
def _expires(b: Bench) -> None:
    command = b.slide(b.soon())._replace(valid_ns=round(0.5 * MOVE_S * NS))
    b.driver.send(command)
    expiry_ns = command.start_ns + command.valid_ns
    b.demand_moving(b.play(expiry_ns)[-1], "at the expiry")
    rest = b.play(expiry_ns + NS // 2)[-1]
    b.demand_rest(rest, "half a second after the expiry")
    b.demand_at(b.wait(0.3), rest.q_rad, "later on")
    beyond = np.abs(rest.q_rad - b.begin_rad) > 0.95 * np.abs(b.reach())
    demand(not beyond.all(), "it went on to the end of an expired command")


@_clause("a hold brakes and stays latched until rearm", _moves)
def _hold(b: Bench) -> None:
    command = b.slide(b.soon())
    b.driver.send(command)
    b.demand_moving(b.play(command.start_ns + round(0.5 * MOVE_S * NS))[-1], "before the hold")
    b.driver.hold()
    refused(lambda: b.driver.send(b.slide(b.soon())), CommandError, "held")
    rest = b.wait(0.5)
    b.demand_rest(rest, "half a second after the hold")
    refused(lambda: b.driver.send(b.slide(b.soon())), CommandError, "held")
    b.driver.rearm()
    b.begin_rad = rest.q_rad
    command = b.slide(b.soon())
    b.driver.send(command)
    b.demand_at(b.play(command.start_ns + round((MOVE_S + 0.2) * NS))[-1], command.q_rad[-1], "after the rearm")


@_clause("wild commands break no limit", _moves, tame=False)
def _wild(b: Bench) -> None:
    spec, tolerance, rng = b.driver.spec, b.tolerance, np.random.default_rng(0)
    before, end_ns = b.driver.observe(), b.now_ns + round(1.5 * NS)
    dt_s = DT_S if b.kind.world else 0.3  # in real time the next one may come late: none must run out
    while before.stamp_ns < end_ns:
        q = rng.uniform(2 * spec.q_min_rad, 2 * spec.q_max_rad, (3, spec.joints))
        dq = rng.uniform(-3, 3, (3, spec.joints)) * spec.dq_max_rad_s
        b.driver.send(JointTrajectory(b.now_ns, dt_s, q, dq, NS))
        after = b.play(before.stamp_ns + 1)[-1]
        over = np.maximum(after.q_rad - spec.q_max_rad, spec.q_min_rad - after.q_rad).max()
        demand(over <= tolerance.place_rad, f"a joint went {over:.4f} rad out of its range")
        fast = np.abs(after.dq_rad_s) - (1 + tolerance.limit_share) * spec.dq_max_rad_s
        demand(fast.max() <= tolerance.rest_rad_s, f"a joint was {fast.max():.3f} rad/s too fast")
        if b.kind.world:
            change = np.abs(after.dq_rad_s - before.dq_rad_s) - 1.1 * spec.ddq_max_rad_s2 * DT_S
            demand(change.max() <= 0.03, f"a joint's speed changed by {change.max():.3f} rad/s too much in 10 ms")
        before = after


# worlds: time stands still between ticks


def _world(kind: Kind) -> bool:
    return kind.world


def _run(b: Bench, world: Any, seed: int) -> list[Observation]:
    b.reset(world, seed)
    world.send(b.slide(0))
    return [world.tick() for _ in range(80)]


@_clause("use before reset is refused and says what to do", _world, fresh=True)
def _unreset(b: Bench) -> None:
    b.driver.connect()
    refused(b.driver.observe, RobotError, "reset")
    refused(b.driver.tick, RobotError, "reset")
    b.driver.close()


@_clause("a tick is 10 ms", _world)
def _ticks(b: Bench) -> None:
    stamps = [b.driver.tick().stamp_ns for _ in range(5)]
    demand(stamps == [SLOT_NS * k for k in range(1, 6)], f"stamps after a reset are {stamps}; expected: every 10 ms")
    demand(b.driver.observe().stamp_ns == stamps[-1], "time went on without a tick")


@_clause("reset arms it again", _world)
def _rearms(b: Bench) -> None:
    b.driver.hold()
    b.reset(b.driver, 0)
    b.driver.send(b.slide(0))


@_clause("a start that makes no sense is refused", _world)
def _bad_start(b: Bench) -> None:
    start = b.start()
    b.start = lambda: start._replace(q_rad=np.full_like(start.q_rad, np.nan))  # type: ignore[method-assign]
    refused(lambda: b.reset(b.driver, 0), CommandError, "finite")


@_clause("a seed gives identical episodes", _world)
def _seeds(b: Bench) -> None:
    first, second = _run(b, b.driver, 7), _run(b, b.driver, 7)
    differ = sum(not _equal(one, two) for one, two in zip(first, second, strict=True))
    demand(differ == 0, f"{differ} of {len(first)} observations differ between two episodes of one seed")


@_clause("speeds agree with differences of positions", _world)
def _speeds(b: Bench) -> None:
    seen = _run(b, b.driver, 1)[:55]
    q, dq = np.array([s.q_rad for s in seen]), np.array([s.dq_rad_s for s in seen])
    off = np.abs(dq[1:-1] - (q[2:] - q[:-2]) / 0.02).max()
    demand(off <= 0.05, f"they differ by {off:.3f} rad/s; allowed: 0.05")


@_clause("an episode ends with an outcome", lambda kind: kind.referee)
def _outcome(b: Bench) -> None:
    demand(not b.driver.done, "it is over at its start")
    for _ in range(6000):
        if b.driver.done:
            break
        b.driver.tick()
    outcome = b.driver.outcome()
    demand(b.driver.done, "it goes on after a minute")
    told = (outcome.hit, outcome.returned, outcome.fault)
    nothing = (False, False, "miss"), (False, False, "")  # a task without a shuttle knows no faults
    demand(told in nothing, f"hit, returned, fault are {told}; expected of a robot at rest: no hit")


# real time: the clock on the wall


def _real_time(kind: Kind) -> bool:
    return kind.real_time


@_clause("it starts held", _real_time, fresh=True)
def _starts_held(b: Bench) -> None:
    b.driver.connect()
    b.begin_rad = b.driver.observe().q_rad
    refused(lambda: b.driver.send(b.stay(b.soon(), b.begin_rad)), CommandError, "held")
    b.driver.close()


@_clause("stamps are the host's monotonic clock, and recent", _real_time)
def _clock(b: Bench) -> None:
    for _ in range(3):
        b.wait(0.03)
        seen = b.driver.observe()
        age_s = (time.monotonic_ns() - seen.stamp_ns) / NS
        demand(-0.001 <= age_s < 0.5, f"an observation is {age_s:.3f} s old; allowed: 0 to 0.5 s")


@_clause("a command that has run out is a hold, until rearm", lambda kind: kind.real_time and kind.follows)
def _latched(b: Bench) -> None:
    command = b.slide(b.soon())._replace(valid_ns=round(0.3 * MOVE_S * NS))
    b.driver.send(command)
    b.play(command.start_ns + command.valid_ns + NS // 3)
    refused(lambda: b.driver.send(b.stay(b.soon(), b.begin_rad)), CommandError, "held")
    b.driver.rearm()


@_clause("closing while it moves brakes it first", lambda kind: kind.real_time and kind.follows)
def _brakes_on_close(b: Bench) -> None:
    command = b.slide(b.soon())
    b.driver.send(command)
    b.demand_moving(b.play(command.start_ns + round(0.5 * MOVE_S * NS))[-1], "before close")
    b.driver.close()
    b.driver.connect()
    rest = b.driver.observe()
    b.demand_at(b.wait(0.2), rest.q_rad, "after close and connect")
