"""prepare(): what is asked of Linux, in which order, and what is said when it refuses."""

import errno
import gc
import os
import subprocess
import sys

import pytest

from hjepa.deploy.realtime import MCL_CURRENT, MCL_FUTURE, Kernel, RealtimeConfig, prepare
from hjepa.errors import ConfigError

ALL = RealtimeConfig(cpus=(1, 2), fifo_priority=50)


class Asked:
    """A kernel that notes what it is asked, and grants all but what is to be refused."""

    def __init__(self, refuse=(), limit=-1, runs_on=(1, 2)):
        self.calls, self.refuse, self.limit, self.runs_on = [], refuse, limit, set(runs_on)
        self.kernel = Kernel(
            pin=lambda cpus: self.note("pin", cpus) or self.runs_on,
            raise_memlock=lambda: self.note("limit") or self.limit,
            lock_memory=lambda flags: self.note("lock", flags),
            set_fifo=lambda priority: self.note("fifo", priority),
            set_timer_slack_ns=lambda ns: self.note("slack", ns),
        )

    def note(self, name, *values):
        self.calls.append((name, *values))
        if name in self.refuse:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.fixture(autouse=True)
def thawed():
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_every_step_is_granted_and_the_priority_comes_last():
    asked = Asked()
    done = prepare(ALL, asked.kernel)
    assert [step.step for step in done] == ["garbage", "memory", "cpus", "timers", "priority"]
    assert all(step.granted and step.said and not step.remedy for step in done)
    lock = "lock", MCL_CURRENT | MCL_FUTURE
    assert asked.calls == [("limit",), lock, ("pin", (1, 2)), ("slack", 1000), ("fifo", 50)]


def test_what_is_refused_is_said_with_a_remedy_and_the_rest_is_done():
    done = {step.step: step for step in prepare(ALL, Asked(refuse=("lock", "pin", "slack", "fifo")).kernel)}
    refused = [step for step in done.values() if not step.granted]
    assert [step.step for step in refused] == ["memory", "cpus", "timers", "priority"]
    assert all(step.remedy and "Operation not permitted" in step.said for step in refused)
    assert "LimitRTPRIO" in done["priority"].remedy and "LimitMEMLOCK" in done["memory"].remedy


def test_later_allocations_are_not_locked_under_a_finite_limit():
    asked = Asked(limit=8 * 2**20)
    (memory,) = [step for step in prepare(ALL, asked.kernel) if step.step == "memory"]
    assert ("lock", MCL_CURRENT) in asked.calls
    assert memory.granted and "later allocations are not (limit 8 MiB)" in memory.said


def test_processors_that_linux_leaves_out_are_named():
    (cpus,) = [step for step in prepare(ALL, Asked(runs_on=(1,)).kernel) if step.step == "cpus"]
    assert not cpus.granted and cpus.said == "not on processors 2; it runs on 1"


def test_what_is_not_wanted_is_not_asked_for():
    asked = Asked()
    nothing = RealtimeConfig(lock_memory=False, freeze_garbage=False, timer_slack_ns=0)
    assert prepare(nothing, asked.kernel) == [] and asked.calls == []


def test_garbage_is_frozen_and_collected_rarely():
    prepare(RealtimeConfig(lock_memory=False, timer_slack_ns=0))
    assert gc.get_freeze_count() > 1000 and gc.get_threshold()[0] == 100_000


@pytest.mark.parametrize("wrong", [{"fifo_priority": 100}, {"cpus": (-1,)}, {"timer_slack_ns": -1}])
def test_what_no_kernel_grants_is_a_mistake(wrong):
    with pytest.raises(ConfigError, match="allowed"):
        RealtimeConfig(**wrong)


SCRIPT = """
import os
from hjepa.deploy.realtime import RealtimeConfig, prepare
if os.getuid() == 0:
    import encodings.ascii, encodings.idna
    os.setuid(65534)
cpu = min(os.sched_getaffinity(0))
for step in prepare(RealtimeConfig(cpus=(cpu,), fifo_priority=1)):
    print(step.step, step.granted, bool(step.remedy))
bytearray(64 * 2**20)
print(os.sched_getaffinity(0) == {cpu}, open("/proc/self/timerslack_ns").read().strip())
"""


def test_a_user_without_rights_gets_what_needs_none_and_can_still_allocate():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    *steps, last = done.stdout.splitlines()
    told = {line.split()[0]: line.split()[1:] for line in steps}
    assert told["garbage"] == told["cpus"] == told["timers"] == ["True", "False"]
    assert all((granted == "True") != (remedy == "True") for granted, remedy in told.values())
    assert last.startswith("True")
