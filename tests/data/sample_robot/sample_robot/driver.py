"""The driver: joints that lag a little behind their set-points, and a camera that sees a marker on the tool.

A driver of a real arm has its bus where `_read` and `_write` are; everything else stays.
"""

import time
from collections import deque

import numpy as np

from hjepa.errors import RobotError
from hjepa.tasks.kinematics import joint_frames
from robots.loop import ControlLoop
from robots.trackers import between, observation

LAG = 0.7  # share of the way to the set-point that a joint goes in a period
# where the camera stands: R (quarter turn about z) and shift; `hjepa calibrate` finds it
T_TRACKER_WORLD = np.array([[0.0, 1.0, 0.0, -0.3], [-1.0, 0.0, 0.0, 0.1], [0.0, 0.0, 1.0, 0.8], [0.0, 0.0, 0.0, 1.0]])


class TwoLink:
    """A Driver, see hjepa.protocols."""

    moves_machine = False  # nobody can be hurt: may be tried without a person present

    def __init__(self, spec):
        self.spec, self._loop = spec, None
        self._q, self._dq = spec.q_home_rad.copy(), np.zeros(spec.joints)
        self._seen = deque([(time.monotonic_ns(), self._camera())], maxlen=128)

    def connect(self):
        if self._loop is not None:
            raise RobotError("already connected; allowed: close() first")
        self._loop = ControlLoop(self.spec, self._read, self._write)
        self._loop.start()

    def close(self):
        if self._loop is not None:
            self._loop.close()
        self._loop = None

    def __enter__(self):
        self.connect()
        return self

    def __exit__(self, *error):
        self.close()

    def observe(self):
        return observation(*self._running().measured(), self)  # its own Tracker

    def send(self, command):
        return self._running().send(command)

    def hold(self):
        self._running().hold()

    def rearm(self):
        self._running().rearm()

    def window(self, stamp_ns):
        """What the camera had seen of the marker by an instant, on the 10 ms grid of every Tracker."""
        stamps, places = zip(*tuple(self._seen), strict=True)
        return between(np.array(stamps), np.array(places), stamp_ns)

    def _camera(self):
        """The marker in the camera's own frame, with half a millimetre of noise."""
        tool = joint_frames(self.spec, self._q)[-1, :3, 3]
        noise = 5e-4 * np.random.default_rng(time.monotonic_ns()).normal(size=3)
        return T_TRACKER_WORLD[:3, :3] @ tool + T_TRACKER_WORLD[:3, 3] + noise

    def _running(self):
        if self._loop is None:
            raise RobotError("not connected; allowed: connect() first")
        return self._loop

    def _read(self):
        self._seen.append((time.monotonic_ns(), self._camera()))
        return self._q.copy(), self._dq.copy()

    def _write(self, q_set, dq_set):
        before = self._q
        self._q = before + LAG * (q_set - before)
        self._dq = (self._q - before) * self.spec.control_rate_hz
