"""A referee who lets one thing happen that cannot (see disturbance.py). Only disturbed episodes have one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hjepa.tasks.badminton import impact
from hjepa.tasks.badminton.impact import Pose
from hjepa.tasks.badminton.shuttle import State, rk4
from robots.sim.disturbance import Disturbance
from robots.sim.referee import Referee

_NO_DISC = (1e-9, 1e-9)  # semi-axes of a racket that nothing meets
_FLOOR_M = 0.05  # a shuttle does not jump below it: it is mirrored there
_MS = 0.001

Change = Callable[[], None]


class DisturbedReferee(Referee):
    """Everything else is as it should be."""

    def __init__(
        self,
        launch: State,
        drag_length_m: float,
        restitution: float,
        semi_axes_m: Sequence[float],
        tip_m: float,
        disturbance: Disturbance,
        episode: int,
    ) -> None:
        """episode: its seed."""
        super().__init__(launch, drag_length_m, restitution, semi_axes_m, tip_m)
        self._what, self._episode = disturbance, episode
        self._changes: list[tuple[float, Change]] = [(round(disturbance.at_s, 3), self._begin)]  # when, what; in order
        self._kept = launch  # before it was frozen

    def fly(self, until_s: float, track: Sequence[Pose] | None = None) -> None:
        """As a referee does, with the changes at their time."""
        start = self.time_s
        while self._changes and not self.down and self._changes[0][0] <= until_s - 1e-9:
            at_s, change = self._changes[0]
            self._fly_on(at_s, start, track)
            if self._changes and self._changes[0][1] is change:  # a contact on the way may have called it off
                self._changes.pop(0)
                change()
        self._fly_on(until_s, start, track)

    def _fly_on(self, until_s: float, start_s: float, track: Sequence[Pose] | None) -> None:
        rest = None if track is None else track[round((self.time_s - start_s) / _MS) :]
        super().fly(until_s, rest)

    def _strike(self, struck: tuple[Pose, Pose, impact.Crossing]) -> None:
        super()._strike(struck)
        if self._what.kind in ("frozen", "reversal") and self.time_s >= self._what.at_s:  # the racket sets it free
            self._flow, self._drag = rk4, abs(self._drag)
            self._changes.clear()

    def _begin(self) -> None:
        what, (x, y, z, a, b, c) = self._what, self.state
        if self.down:
            return
        if what.kind == "teleport":
            dx, dy, dz = (what.amount * what.direction(self._episode)).tolist()
            self.state = (x + dx, y + dy, z + dz if z + dz > _FLOOR_M else z - dz, a, b, c)
        elif what.kind == "gravity":
            g = what.gravity_m_s2
            self._flow = lambda state, dt_s, drag_length_m: rk4(state, dt_s, drag_length_m, g)
        elif what.kind in ("drag_off", "mass"):
            self._drag = what.drag_length_m(self._drag)
        elif what.kind == "net":
            self._net = False
        elif what.kind == "racket":
            self._semi_axes = _NO_DISC
        elif what.kind == "frozen":
            self._kept, self.state = self.state, (x, y, z, 0.0, 0.0, 0.0)
            self._flow = _stand
            self._changes.append((self.time_s + what.amount, self._thaw))
        elif what.kind == "reversal":
            since_s = self.time_s - (self.events[-1].time_s if self.events else 0.0)
            self._turn_round()
            self._changes.append((self.time_s + min(what.amount, since_s), self._turn_round))

    def _thaw(self) -> None:
        self.state, self._flow = self._kept, rk4

    def _turn_round(self) -> None:
        """A flight run backwards obeys dw/dt = g + |w| w / L: the velocity and the sign of L change."""
        x, y, z, a, b, c = self.state
        self.state, self._drag = (x, y, z, -a, -b, -c), -self._drag


def _stand(state: State, dt_s: float, drag_length_m: float) -> State:
    return state
