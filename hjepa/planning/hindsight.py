"""Looking back: once what followed an event has been seen, the slow context learns from it.

Legend: D latent, E outcome embedding, F slots after the event, J joints.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hjepa import stroke
from hjepa.planning.encoding import Encoding
from hjepa.planning.held import Committed, Look
from hjepa.types import NS, Observation


class Hindsight:
    """What is kept of a stroke until it can be learned from."""

    def __init__(self, encoding: Encoding, after_s: float, future: int) -> None:
        """after_s: after an event it is known what followed; future: F."""
        self.encoding, self.context = encoding, encoding.context
        self.after_s, self.future = after_s, future
        self._forget()

    def reset(self, doubted: bool) -> None:
        """A new stroke. doubted: the flight of the last one made no sense."""
        if self.context is not None:
            (self.context.doubted if doubted else self.context.landed)()
        self._forget()

    def _forget(self) -> None:
        self._look: Look | None = None  # the last one at a shuttle before its event
        self._past: tuple[Committed, Observation] | None = None  # an event that is over, and what is seen of it

    def looked(self, z: Tensor, stamp_ns: int) -> None:
        """A look (1, D) at the shuttle that a plan is made from."""
        self._look = Look(z, stamp_ns)

    def abandoned(self) -> None:
        """The stroke is given up: nothing that follows tells about a plan."""
        self._look = None

    def over(self, done: Committed, observation: Observation) -> None:
        """A plan that is played to its end, and what is seen meanwhile."""
        self._past = done, observation

    def learn(self, alarmed: bool) -> None:
        """Look back at what was seen last of a plan's end, unless that has been done, or the flight was surprising. The
        commanded joints stand for the measured ones; the slot at the event itself is left out, as it may still belong
        to the incoming flight."""
        if self._past is None:
            return
        (done, observation), self._past = self._past, None
        since_s = (observation.stamp_ns - done.event_ns) / NS
        if self.context is None or self._look is None or since_s < self.after_s or alarmed:
            return
        look, self._look = self._look, None
        first = int(np.searchsorted(observation.tracker_stamp_ns, done.event_ns))
        slots = slice(first, first + self.future)
        mask = observation.tracker_mask[slots].copy()
        if first == 0 or len(mask) < self.future or mask.sum() < self.future // 2:
            return
        mask[0] = False
        at = [stroke.state_at(done.command, done.event_ns + round(0.1 * k * NS)) for k in range(5)]
        q, dq = (np.stack([getattr(state, name) for state in at]) for name in ("q_rad", "dq_rad_s"))
        seen = observation.tracker_xyz_m[slots] * mask[:, None]
        with torch.no_grad():
            outcome = self.encoding.level.see_after(*(self.encoding.tensor(x[None]) for x in (seen, mask, q, dq)))
            to_go_s = look.z.new_tensor([[(done.event_ns - look.stamp_ns) / NS]])
            self.context.learn(look.z, done.x[None, :-1], to_go_s, outcome)
