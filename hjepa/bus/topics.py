"""What travels on the bus: topics, the kinds of message on each, and which value of hjepa.types a kind carries.

Legend of dimensions: J joints, K tracker slots, H trajectory samples, D upper latent, C candidates, M motor latent,
B bytes, S searches, Z zones, N anything. A letter stands for one length within a message; a digit is that length
exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from hjepa.errors import LinkError, nearest
from hjepa.types import (
    Alarm,
    Array,
    Considered,
    Goal,
    JointTrajectory,
    Launch,
    MotorPlan,
    Observation,
    Outcome,
    RobotState,
    Weighed,
)

# values that only the bus needs


class Empty(NamedTuple):
    """Nothing but the header."""


class Reset(NamedTuple):
    """Start an episode: levels read the seed, the driver reads all. The header's session is the new one."""

    start: RobotState
    launch: Launch
    seed: int


class Tick(NamedTuple):
    """Let at most so many control periods pass."""

    ticks: int


class Ticked(NamedTuple):
    """How far the episode is."""

    tick: int
    stamp_ns: int
    done: bool


class Zones(NamedTuple):
    """What a safety scanner reports: zones to keep out of, as protocols.Scans has them; none is a report too."""

    stamp_ns: int  # of the observation that they were seen with
    zones: Array  # (Z, 6)


class ReachRequest(NamedTuple):
    """Candidate goals the high level asks the low one about, with the observation they start from."""

    observation: Observation
    candidates: Array  # (C, D)
    roots: Array  # (C, D, D) what counts in each


class Energies(NamedTuple):
    """The low level's answer."""

    energies: Array  # (C,)


class Status(NamedTuple):
    """How a node is. Counts: messages sent by topic, frames dropped by reason, deadlines missed."""

    node: str
    state: str  # driver: idle, running, holding, done; levels: idle, running
    session: int
    sequence: int  # of the last observation published or read in this session
    stamp_ns: int
    counts: dict[str, int]
    wall_ms: Array  # (N,) wall time of the session's decisions, the latest 10,000 (node.KEPT_DECISIONS)


class Time(NamedTuple):
    """A node's clock, for whoever estimates how far it is off."""

    now_ns: int


class Ledger(NamedTuple):
    """What became of a command, and when each stage was done; all on the driver's clock."""

    command: int  # sequence of the command
    observed_ns: int  # the observation was sent
    goal_ns: int  # the goal that it serves was sent
    latent_ns: int  # the motor latent was chosen
    command_ns: int  # the command was sent
    actuated_ns: int  # the driver follows it
    due_ns: int  # when it should have been followed from
    late: bool  # actuated after it was due


class Handled(NamedTuple):
    """A node's journal: an input it has handled. With it and the inputs a node can be run again, bit by bit."""

    source: str  # topic of the input, or a request channel
    session: int
    sequence: int  # of the input frame
    episode: int  # how many the node has begun since it was started: it may remember those before
    reads_ns: NDArray[Any]  # int64 (R,) every reading of the node's clock meanwhile, in order
    frame: NDArray[Any]  # uint8 (B,) the input itself, for request channels; streams are recorded anyway
    scored: NDArray[Any]  # int64 (S,) candidates that each search of the low level scored meanwhile


class Weights(NamedTuple):
    """Weights of the terms of a level's energy, by name."""

    values: dict[str, float]


class Record(NamedTuple):
    """What a world recorded of an episode: its arrays, and the rest as JSON."""

    arrays: dict[str, NDArray[Any]]
    rest: str


class Text(NamedTuple):
    """A refusal in words."""

    text: str


class Topic(NamedTuple):
    """A stream (one publisher) or a request channel (one replier)."""

    name: str
    owner: str  # node that binds
    kinds: tuple[str, ...]
    rate: str


_CONTROL = ("reset", "get_status", "get_time", "stop", "status", "time", "ok", "error")
_LEVEL = (*_CONTROL, "get_weights", "weights", "tune")
TOPICS = {
    topic.name: topic
    for topic in (
        Topic("observation", "driver", ("observation", "last_observation"), "100 Hz"),
        Topic("goal", "high", ("goal", "pass"), "at events"),
        Topic("plan", "low", ("plan",), "every re-planning period, 25-50 Hz"),
        Topic("command", "low", ("command", "pass"), "every re-planning period, 25-50 Hz"),
        Topic("status", "driver", ("status",), "when the driver's state changes"),
        Topic("reachability", "low", ("reach", "energies", "error"), "on request"),
        Topic(
            "driver-control",
            "driver",
            ("reset", "tick", "start", "ticked", "get_outcome", "outcome", "get_record", "record", "rearm")
            + ("arm", "get_status", "get_time", "hold", "stop", "status", "time", "ok", "error"),
            "on request",
        ),
        Topic("high-control", "high", _LEVEL, "on request"),
        Topic("low-control", "low", _LEVEL, "on request"),
        # a channel of its own, served by a thread of its own: a stop waits for nobody
        Topic("estop", "driver", ("estop", "release", "ok", "error"), "on request"),
        Topic("ledger", "driver", ("ledger",), "every command applied"),
        Topic("high-journal", "high", ("handled",), "every input handled"),
        Topic("low-journal", "low", ("handled",), "every input handled"),
        # for viewers: nothing is made or sent unless somebody listens
        Topic("weighed", "high", ("weighed",), "with goals, if heard"),
        Topic("considered", "low", ("considered",), "with plans, if heard"),
        Topic("surprise", "low", ("surprise",), "with plans, of a level that watches"),
        Topic("zones", "driver", ("zones",), "before each observation, of a driver that scans"),
    )
}
FOR_VIEWERS = ("weighed", "considered")  # no part of what a level does: replays leave them out

F8, I8, B1, U1 = "float64", "int64", "bool", "uint8"
_OBSERVATION = {
    "q_rad": (F8, "J"),
    "dq_rad_s": (F8, "J"),
    "tracker_xyz_m": (F8, "K 3"),
    "tracker_mask": (B1, "K"),
    "tracker_stamp_ns": (I8, "K"),
}


class Schema(NamedTuple):
    """Which value a kind carries, its arrays' dtype and dimensions, and which floats need not be finite."""

    cls: Any  # a NamedTuple class
    arrays: dict[str, tuple[str, str]] = {}  # name -> dtype, dimensions ('|' between alternatives)
    finite: bool = True
    loose: tuple[str, ...] = ()  # arrays that may hold inf or nan all the same


KINDS: dict[str, Schema] = {
    "observation": Schema(Observation, _OBSERVATION),
    "last_observation": Schema(Observation, _OBSERVATION),  # the episode is over: nobody plans on it
    "goal": Schema(
        Goal,
        {
            "embedding": (F8, "D"),
            "root": (F8, "D D"),
            "target_xy_m": (F8, "2"),
            "candidates": (F8, "C D"),
            "energies": (F8, "C"),
            "late": (F8, "V E"),
            "late_roots": (F8, "V E E"),
            "late_xy_m": (F8, "V 2"),
        },
        loose=("energies",),  # a candidate out of reach may cost inf
    ),
    "plan": Schema(
        MotorPlan,
        {"m": (F8, "M"), "predicted_xy_m": (F8, "2"), "target_xy_m": (F8, "2"), "guards": (F8, "7")},
        finite=False,
    ),
    "command": Schema(JointTrajectory, {"q_rad": (F8, "H J"), "dq_rad_s": (F8, "H J")}),
    "reach": Schema(
        ReachRequest,
        {"candidates": (F8, "C D"), "roots": (F8, "C D D")}
        | {f"observation.{name}": spec for name, spec in _OBSERVATION.items()},
    ),
    "energies": Schema(Energies, {"energies": (F8, "C")}, finite=False),
    "reset": Schema(
        Reset,
        {"start.q_rad": (F8, "J"), "start.dq_rad_s": (F8, "J"), "launch.x_m": (F8, "3"), "launch.v_m_s": (F8, "3")},
    ),
    "tick": Schema(Tick),
    "ticked": Schema(Ticked),
    "outcome": Schema(
        Outcome,
        {"offset_m": (F8, "2"), "landing_m": (F8, "2")}
        | dict.fromkeys(("contact_m", "u_in_m_s", "u_out_m_s"), (F8, "3")),
        finite=False,
    ),
    "status": Schema(Status, {"wall_ms": (F8, "N")}),
    "record": Schema(Record, finite=False),
    "time": Schema(Time),
    "ledger": Schema(Ledger),
    "handled": Schema(Handled, {"reads_ns": (I8, "N"), "frame": (U1, "B"), "scored": (I8, "S")}),
    "error": Schema(Text),
    "weights": Schema(Weights),
    "tune": Schema(Weights),
    "weighed": Schema(
        Weighed,
        {"target_xy_m": (F8, "C 2")}
        | dict.fromkeys(("energies", "win", "support", "name", "reach", "mixing"), (F8, "C")),
        finite=False,
    ),
    "considered": Schema(
        Considered,
        dict.fromkeys(("energies", "to_go_s"), (F8, "C"))
        | dict.fromkeys(("q_rad", "dq_rad_s"), (F8, "C J"))
        | {"before_s": (F8, "C S"), "contact_m": (F8, "C 3"), "landing_xy_m": (F8, "C 2")},
        finite=False,
    ),
    "surprise": Schema(Alarm),
    "zones": Schema(Zones, {"zones": (F8, "Z 6")}),
} | {
    name: Schema(Empty)
    for name in ("pass", "start", "get_outcome", "get_status", "get_time", "get_record", "hold", "rearm", "arm", "stop")
    + ("get_weights", "estop", "release", "ok")
}


def address(base: str, topic: str, hosts: Mapping[str, str] | None = None) -> str:
    """Where a topic lives under a base: inproc://NAME, ipc://FOLDER, or tcp://HOST:PORT (one port a topic, upwards).

    hosts: over tcp, the machine of each node that does not run on the base's own.
    """
    if topic not in TOPICS:
        raise LinkError(f"no topic '{topic}'; {nearest(topic, TOPICS)}")
    if base.startswith("tcp://"):
        host, _, port = base.rpartition(":")
        if not port.isdecimal():
            raise LinkError(f"address '{base}' has no port; allowed: tcp://127.0.0.1:PORT")
        elsewhere = (hosts or {}).get(TOPICS[topic].owner)
        host = f"tcp://{elsewhere}" if elsewhere else host
        return f"{host}:{int(port) + list(TOPICS).index(topic)}"
    return f"{base}/{topic}"
