"""The one guard between a command and the joints: refuses what makes no sense, clips what breaks a limit.

Limits come from `RobotSpec` only. `admit` looks at a whole trajectory when it arrives, `limit` at every set-point that
reaches the joints. A hold is latched: nothing is admitted until `rearm`. Legend: J joints, H samples.
"""

from __future__ import annotations

import numpy as np

from hjepa.errors import CommandError
from hjepa.types import Array, JointTrajectory, RobotSpec

TOLD = 0.1  # a set-point that the guard changes by less than this share of a step of acceleration is not counted


class Guard:
    """Checks and limits for one robot whose set-points come every `dt_s`; `interventions`: how many it changed."""

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        self.spec, self.dt_s = spec, dt_s
        self.held = False
        self.interventions = 0
        self._step = spec.ddq_max_rad_s2 * dt_s  # (J,) largest change of speed between set-points
        self._margin = 0.125 * self._step * dt_s  # (J,) braking in whole steps needs this more than v^2 / 2a

    def hold(self) -> None:
        """Refuse every command from now on, until `rearm`."""
        self.held = True

    def rearm(self) -> None:
        """Accept commands again."""
        self.held = False

    def admit(self, command: JointTrajectory, now_ns: int) -> JointTrajectory:
        """The command as it will be followed: a copy with q in range and |dq| within limits.

        Acceleration depends on where the joints are when a sample's turn comes; `limit` sees to it then.
        """
        if self.held:
            raise CommandError("command refused: the robot is held; allowed: rearm() or reset() first")
        self._check_shape(command)
        self._check_time(command, now_ns)
        spec = self.spec
        q = np.clip(command.q_rad, spec.q_min_rad, spec.q_max_rad)
        dq = np.clip(command.dq_rad_s, -spec.dq_max_rad_s, spec.dq_max_rad_s)
        return command._replace(q_rad=q, dq_rad_s=dq)

    def limit(self, q_rad: Array, dq_rad_s: Array, wanted_rad_s: Array) -> Array:
        """Speed (J,) to reach one step from now: `wanted`, within speed, acceleration and joint range.

        Range: a joint may go only so fast that it still stops inside, braking at its acceleration limit from the next
        step on. Speed goes linearly from dq to the result, so this step covers (dq + v) / 2 dt and braking v^2 / 2a.
        """
        spec, dt = self.spec, self.dt_s
        a = spec.ddq_max_rad_s2
        up = spec.q_max_rad - q_rad - self._margin - 0.5 * dt * dq_rad_s
        down = q_rad - spec.q_min_rad - self._margin + 0.5 * dt * dq_rad_s
        highest = a * (np.sqrt(np.maximum(0.25 * dt * dt + 2.0 * up / a, 0.0)) - 0.5 * dt)
        lowest = a * (np.sqrt(np.maximum(0.25 * dt * dt + 2.0 * down / a, 0.0)) - 0.5 * dt)
        v = np.minimum(wanted_rad_s, np.minimum(np.maximum(highest, 0.0), spec.dq_max_rad_s))
        v = np.maximum(v, -np.minimum(np.maximum(lowest, 0.0), spec.dq_max_rad_s))
        v = np.minimum(np.maximum(v, dq_rad_s - self._step), dq_rad_s + self._step)
        self.interventions += bool((abs(v - wanted_rad_s) > TOLD * self._step).any())
        return v

    def brake(self, dq_rad_s: Array) -> Array:
        """Speed (J,) one step from now when braking as hard as allowed."""
        return dq_rad_s - np.minimum(np.maximum(dq_rad_s, -self._step), self._step)

    def _check_shape(self, command: JointTrajectory) -> None:
        joints = self.spec.joints
        for name, value in (("q_rad", command.q_rad), ("dq_rad_s", command.dq_rad_s)):
            array = np.asarray(value)
            if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] != joints or array.shape[0] < 1:
                got = f"shape {array.shape} of {array.dtype}"
                raise CommandError(f"{name} has {got}; allowed: (H, {joints}) numbers with H >= 1 for {self.spec.name}")
            finite = np.isfinite(array)
            if not finite.all():
                h, j = np.argwhere(~finite)[0]
                where = f"sample {h}, joint {self.spec.joint_names[j]}"
                raise CommandError(f"{name} is {array[h, j]} at {where}; allowed: finite numbers")
        if len(command.q_rad) != len(command.dq_rad_s):
            got = f"{len(command.q_rad)} and {len(command.dq_rad_s)}"
            raise CommandError(f"q_rad and dq_rad_s have {got} samples; allowed: equally many")

    def _check_time(self, command: JointTrajectory, now_ns: int) -> None:
        if not (np.isfinite(command.dt_s) and command.dt_s > 0):
            raise CommandError(f"dt_s is {command.dt_s}; allowed: more than 0 s")
        if command.valid_ns <= 0:
            raise CommandError(f"valid_ns is {command.valid_ns}; allowed: more than 0 ns")
        if command.start_ns + command.valid_ns <= now_ns:
            late = (now_ns - command.start_ns - command.valid_ns) / 1e6
            raise CommandError(f"command expired {late:.1f} ms ago; allowed: start_ns + valid_ns later than now")
