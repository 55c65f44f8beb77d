"""What a bus of serial servos offers the arm's driver, whatever its protocol.

Positions are in steps, 4096 a turn, speeds in steps/s, as the servos count them. Only the thread that owns a bus may
call it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from hjepa.errors import RobotError

STEPS_TURN = 4096


class ServoError(RobotError):
    """A servo did not answer, answered nonsense, refused, or the port is gone."""


class PortError(ServoError):
    """The serial port is not there, not open, or gone."""


class BusCounts(NamedTuple):
    """What has passed over a bus so far."""

    requests: int  # packets sent
    replies: int  # good packets received
    silent: int  # replies that never came (or not whole) in time
    corrupt: int  # packets thrown away: wrong checksum or length
    retries: int  # requests sent again


class ServoInfo(NamedTuple):
    """What a servo says about itself."""

    model: int
    position_mode: bool
    min_steps: int  # its own range: goals beyond are cut off by the servo without a word
    max_steps: int
    min_v: float  # supply voltage it wants
    max_v: float
    firmware: int


class ServoState(NamedTuple):
    """One reading of a servo."""

    position_steps: int
    speed_steps_s: float
    load: float  # raw register, in 1/1000 of the range: torque share, PWM share or current, as the model has it
    voltage_v: float
    temperature_c: float
    torque_on: bool
    alarms: tuple[str, ...]  # what the servo complains about


class ServoBus(Protocol):
    """Verbs of a servo bus. A verb for one servo raises ServoError when it does not answer in all its attempts."""

    models: dict[int, str]  # model number: name, those that this code knows

    def open(self) -> None: ...

    def close(self) -> None: ...

    def ping(self, servo: int) -> bool: ...

    def info(self, servo: int) -> ServoInfo: ...

    def prepare(self, servo: int, speed_steps_s: float, watchdog_s: float) -> None:
        """Before torque: the servo's own speed limit, and its watchdog where it has one, read back."""
        ...

    def state(self, servos: list[int]) -> dict[int, ServoState]:
        """Readings of those that answered; the others are left out."""
        ...

    def write_goals(self, goals: dict[int, int]) -> None:
        """Goal positions of all at once, not acknowledged."""
        ...

    def write_goal(self, servo: int, steps: int) -> None:
        """Goal position of one, read back."""
        ...

    def torque(self, servo: int, on: bool) -> None:
        """Switch the motor, read back."""
        ...

    def rest(self, servo: int) -> None:
        """Stop expecting commands: a watchdog, where there is one, is ended."""
        ...

    def counts(self) -> BusCounts: ...


class Tally:
    """Counts while they grow."""

    def __init__(self) -> None:
        self.requests = self.replies = self.silent = self.corrupt = self.retries = 0

    def counts(self) -> BusCounts:
        """The counts now."""
        return BusCounts(self.requests, self.replies, self.silent, self.corrupt, self.retries)
