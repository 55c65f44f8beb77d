"""The contract notices drivers that break it. Run: pytest tests/unit/test_check.py"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest

from hjepa.errors import CommandError
from hjepa.types import JointTrajectory, Observation
from robots.bench import ContractBroken, kind_of
from robots.check import HARDWARE_SHARE, checks, try_clause
from robots.clauses import clauses
from robots.fake import FakeDriver
from robots.ideal import IdealRobot
from robots.spec import load_spec, slowed

SPEC = load_spec("panda")


def broken(driver: type[Any]) -> set[str]:
    """Names of the clauses that a driver class breaks."""
    return {r.clause for r in checks(lambda: closing(driver(SPEC)), kind_of(driver)) if not r.passed}


class Forgetful(FakeDriver):
    """Lets a NaN through."""

    def send(self, command: JointTrajectory) -> JointTrajectory:
        return super().send(command._replace(q_rad=np.nan_to_num(command.q_rad)))


class Sharing(FakeDriver):
    """Hands out its own arrays."""

    def reset(self, *args: Any) -> Observation:
        self._kept = super().reset(*args)
        return self._kept

    def tick(self) -> Observation:
        self._kept = super().tick()
        return self._kept

    def observe(self) -> Observation:
        super().observe()
        return self._kept


class Running(FakeDriver):
    """Does not brake at the expiry."""

    def send(self, command: JointTrajectory) -> JointTrajectory:
        return super().send(command._replace(valid_ns=10 * command.valid_ns))


class Deaf(FakeDriver):
    """Does not move."""

    def send(self, command: JointTrajectory) -> JointTrajectory:
        return self._follower.guard.admit(command, 0)


class Eager(FakeDriver):
    """Does not hold."""

    def hold(self) -> None:
        self._check()


class Vague(FakeDriver):
    """Refuses without a reason."""

    def send(self, command: JointTrajectory) -> JointTrajectory:
        try:
            return super().send(command)
        except CommandError:
            raise CommandError("no") from None


class Rash(FakeDriver):
    """Believes every limit to be four times what it is."""

    def tick(self) -> Observation:
        spec, guard = self.spec, self._follower.guard
        guard._step, guard._margin = 4 * spec.ddq_max_rad_s2 * 0.01, np.zeros(spec.joints)
        return super().tick()


@pytest.mark.parametrize(
    ("driver", "clause"),
    [
        (Forgetful, "a command with nan is refused and moves nothing"),
        (Sharing, "arrays handed out are copies"),
        (Running, "it brakes and holds when the command expires"),
        (Deaf, "a command is followed to its end, whatever its sender does to it afterwards"),
        (Eager, "a hold brakes and stays latched until rearm"),
        (Vague, "a command with dt 0 is refused and moves nothing"),
        (Rash, "wild commands break no limit"),
    ],
)
def test_a_driver_that_breaks_a_clause_fails_that_clause(driver: type[Any], clause: str) -> None:
    assert clause in broken(driver)


def test_a_driver_that_keeps_them_all_fails_none() -> None:
    assert not broken(FakeDriver)


class Armed(IdealRobot):
    """Starts armed."""

    def connect(self) -> None:
        super().connect()
        self.rearm()


def test_a_real_time_driver_that_starts_armed_fails_that_clause() -> None:
    starts_held = next(c for c in clauses(kind_of(Armed)) if c.name == "it starts held")
    with pytest.raises(ContractBroken, match="nothing was raised"):
        try_clause(starts_held, lambda: closing(Armed(SPEC)), kind_of(Armed))


def test_on_hardware_only_tame_clauses_are_tried_and_slowly() -> None:
    peaks: list[float] = []
    slow = slowed(SPEC, HARDWARE_SHARE)

    class Watched(FakeDriver):
        def tick(self) -> Observation:
            seen = super().tick()
            peaks.append(float((np.abs(seen.dq_rad_s) / SPEC.dq_max_rad_s).max()))
            return seen

    results = list(checks(lambda: closing(Watched(slow)), kind_of(Watched), hardware=True))
    assert all(r.passed for r in results)
    assert "wild commands break no limit" not in {r.clause for r in results}
    assert 0.03 < max(peaks) < 0.1
