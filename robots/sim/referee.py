"""Follows one shuttle from launch to floor: racket contact, net, floor, faults (BWF Laws 1, 13).

A `Leg` is a piece of flight without events; the referee cuts flights into legs. Times in s from launch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from hjepa.tasks.badminton import impact
from hjepa.tasks.badminton.court import HALF_DOUBLES_M, NET_HEIGHT_POST_M, in_singles, net_height_at
from hjepa.tasks.badminton.impact import Pose
from hjepa.tasks.badminton.shuttle import State, between, rk4, share_at_zero
from hjepa.types import Outcome

LEG_S = 0.005  # integration step; RK4 errs by less than 0.1 mm a flight at 95 m/s
_MS = 0.001
_NET_LOSS = -0.1  # share of the horizontal velocity that is left after the net, backwards
NAN = math.nan
Flow = Callable[[State, float, float], State]  # a step of flight: state, dt in s, drag length in m


class Event(NamedTuple):
    """Something that happened to the shuttle: 'contact', 'net', 'floor'."""

    time_s: float
    kind: str
    x_m: tuple[float, float, float]


class Referee:
    """The shuttle of one stroke and what it meets."""

    def __init__(
        self, launch: State, drag_length_m: float, restitution: float, semi_axes_m: Sequence[float], tip_m: float
    ) -> None:
        """tip_m: from the racket's centre to its tip."""
        self.state, self.time_s = launch, 0.0
        self.down = self.hit = self.touched_net = self.netted = False
        self.events: list[Event] = []
        self.contact_s = self.landing_s = self.net_height_m = NAN
        self.landing = (NAN, NAN)
        self._offset, self._where, self._u_in, self._u_out = (NAN, NAN), (NAN,) * 3, (NAN,) * 3, (NAN,) * 3
        self._racket_speed, self._nearest = NAN, impact.NEAR_M
        self._drag, self._restitution, self._semi_axes, self._tip = drag_length_m, restitution, semi_axes_m, tip_m
        self._flow: Flow = rk4
        self._net = True  # stops what meets it

    def near(self, racket: Pose, within_s: float) -> bool:
        """True if the shuttle may cross the racket plane nearby within that time (racket head below 30 m/s)."""
        x, y, z, a, b, c = self.state
        cx, cy, cz = racket.centre_m
        gap = math.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2)
        return gap < impact.NEAR_M + within_s * (30.0 + math.sqrt(a * a + b * b + c * c))

    def watch_racket(self, racket: Pose) -> None:
        """Note a racket that reaches the net: centre or tip beyond its plane below the tape's highest point."""
        (x, y, z), r = racket.centre_m, racket.rotation
        for px, py, pz in ((x, y, z), (x + self._tip * r[0], y + self._tip * r[3], z + self._tip * r[6])):
            if px > 0.0 and pz < NET_HEIGHT_POST_M and abs(py) < HALF_DOUBLES_M:
                self.touched_net = True

    def fly(self, until_s: float, track: Sequence[Pose] | None = None) -> None:
        """Fly to `until_s`, or to the floor. `track`: racket poses every ms from now to then, if the racket is near."""
        start = self.time_s
        while not self.down and until_s - self.time_s > 1e-9:
            dt = min(LEG_S, until_s - self.time_s)
            end = self._flow(self.state, dt, self._drag)
            if track is not None and not self.hit:
                first = round((self.time_s - start) / _MS)
                contact = self._seek_contact(end, dt, track[first : first + round(dt / _MS) + 1])
                if contact is not None:
                    dt, end, struck = contact
                    self._advance(end, dt)
                    if not self.down:
                        self._strike(struck)
                    track = None
                    continue
            self._advance(end, dt)

    def _seek_contact(
        self, end: State, dt: float, track: Sequence[Pose]
    ) -> tuple[float, State, tuple[Pose, Pose, impact.Crossing]] | None:
        """First hit within a leg: (time into it, state there, racket before and after, crossing); notes near misses."""
        here = self.state[:3]
        for i in range(len(track) - 1):
            there = between(self.state, end, dt, (i + 1) * _MS / dt)
            at = impact.crossing(track[i], track[i + 1], here, there)
            here = there
            if at is None:
                continue
            at_s = (i + at.fraction) * _MS
            if impact.inside(at, self._semi_axes):
                before = self._flow(self.state, at_s, self._drag) if at_s > 0 else self.state
                return at_s, before, (track[i], track[i + 1], at)
            self._note_miss(at, at_s, end, dt)
        return None

    def _note_miss(self, at: impact.Crossing, at_s: float, end: State, dt: float) -> None:
        distance = math.hypot(at.x_m, at.y_m)
        if distance < self._nearest:
            self._nearest = distance
            self.contact_s, self._offset = self.time_s + at_s, (at.x_m, at.y_m)
            self._where = between(self.state, end, dt, at_s / dt)
            self._u_in = self._flow(self.state, at_s, self._drag)[3:]

    def _strike(self, struck: tuple[Pose, Pose, impact.Crossing]) -> None:
        """Apply the impact to the state reached."""
        before, after, at = struck
        x, u = self.state[:3], self.state[3:]
        V, n = impact.struck_velocity(before, after, at)
        self.hit, self.contact_s, self._offset, self._where = True, self.time_s, (at.x_m, at.y_m), x
        self._u_in, self._u_out = u, impact.rebound(u, V, n, self._restitution)
        self._racket_speed = math.sqrt(V[0] ** 2 + V[1] ** 2 + V[2] ** 2)
        self.touched_net |= x[0] > 0.0  # the racket may follow the shuttle over the net, not meet it there
        self.state = (*x, *self._u_out)
        self.events.append(Event(self.time_s, "contact", x))

    def _advance(self, end: State, dt: float) -> None:
        """Take a leg as flown, as far as the net or the floor if it meets one."""
        start = self.state
        if (start[0] > 0.0) != (end[0] > 0.0) and start[0] != 0.0:
            share = share_at_zero(start, end, dt, 0)
            _, y, z = between(start, end, dt, share)
            if z > 0.0:
                if self.hit and end[0] > 0.0 and math.isnan(self.net_height_m):
                    self.net_height_m = z
                if self._net and abs(y) <= HALF_DOUBLES_M and z < net_height_at(y):
                    _, _, _, a, b, c = self._flow(start, share * dt, self._drag)
                    side = math.copysign(1e-9, start[0])
                    self.state = (side, y, z, _NET_LOSS * a, _NET_LOSS * b, c)
                    self.time_s += share * dt
                    self.netted = True
                    self.events.append(Event(self.time_s, "net", (0.0, y, z)))
                    return
        if end[2] <= 0.0:
            share = share_at_zero(start, end, dt, 2) if start[2] > 0.0 else 0.0
            x, y, _ = between(start, end, dt, share)
            self.time_s += share * dt
            self.state, self.down = (x, y, 0.0, 0.0, 0.0, 0.0), True
            self.landing, self.landing_s = (x, y), self.time_s
            self.events.append(Event(self.time_s, "floor", (x, y, 0.0)))
            return
        self.state = end
        self.time_s += dt

    def finish(self) -> None:
        """Fly on to the floor with no racket, to know where the shuttle lands when the time is over."""
        self.fly(self.time_s + 10.0)

    def outcome(self, effort_j: float) -> Outcome:
        """What has happened so far."""
        fault = self._fault()
        return Outcome(
            hit=self.hit,
            contact_s=self.contact_s,
            offset_m=np.array(self._offset),
            contact_m=np.array(self._where),
            u_in_m_s=np.array(self._u_in),
            u_out_m_s=np.array(self._u_out),
            racket_speed_m_s=self._racket_speed,
            landing_m=np.array(self.landing),
            landing_s=self.landing_s,
            net_height_m=self.net_height_m,
            returned=self.hit and self.down and fault == "",
            fault=fault,
            effort_j=effort_j,
        )

    def _fault(self) -> str:
        if self.touched_net:
            return "touched net"
        if not self.hit:
            return "miss" if self.down else ""
        if self.netted:
            return "net"
        if not self.down:
            return ""
        if self.landing[0] <= 0.0:
            return "own side"
        return "" if in_singles(self.landing, 1) else "out"
