"""What a recording holds of a level: its inputs as it handled them, turn by turn, and what it sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hjepa.bus import wire
from hjepa.bus.journal import IDLE
from hjepa.bus.logfile import Log
from hjepa.bus.messages import unpack
from hjepa.bus.topics import FOR_VIEWERS, TOPICS, Handled
from hjepa.errors import DataError, WireError

Key = tuple[str, int, int]  # topic, session, sequence


class Turn(NamedTuple):
    """Inputs that were handled in one go."""

    inputs: tuple[tuple[str, bytes], ...]  # topic, frame
    replies: tuple[bytes, ...]  # answers to the node's own questions meanwhile
    reads_ns: tuple[int, ...]
    scored: tuple[int, ...]


class Recorded(NamedTuple):
    """What a recording holds of a node."""

    turns: list[Turn]
    frames: dict[Key, bytes]  # that it sent, without MAC trailers
    received_ns: dict[Key, int]
    end_ns: int  # when the last entry of the journal was received


def key_of(topic: str, frame: bytes) -> Key:
    """Which message of a topic a frame is."""
    header = wire.decode(frame).header
    return topic, header.session, header.sequence


def said(key: Key) -> str:
    """A message in words."""
    return f"{key[0]} {key[2]} of session {key[1]}"


def read(log: Log, name: str) -> Recorded:
    """The turns of a node and what it sent, from its first reset on; DataError where the recording has too little."""
    outputs = [t.name for t in TOPICS.values() if t.owner == name and t.rate != "on request"]
    outputs = [topic for topic in outputs if topic not in FOR_VIEWERS]
    journal_name = f"{name}-journal"
    inputs: dict[Key, bytes] = {}
    frames: dict[Key, bytes] = {}
    received: dict[Key, int] = {}
    journal: list[Handled] = []
    ends_ns = [0]  # when each entry of the journal came
    last = (-1, -1)
    for entry in log:
        try:
            header = wire.decode(entry.frame).header
        except WireError:
            continue  # recorded as it came; the node dropped it too
        key = entry.topic, header.session, header.sequence
        if entry.topic == journal_name:
            journal.append(unpack(entry.frame).value)
            if header.session == last[0] and header.sequence != last[1] + 1:
                raise DataError(f"{log.path}: journal of {name} has a gap at {last[1] + 1}; replays need all of it")
            last = header.session, header.sequence
            ends_ns.append(entry.received_ns)
        elif entry.topic in outputs:
            frames[key], received[key] = wire.strip_mac(entry.frame), entry.received_ns
        else:
            inputs[key] = entry.frame
    while log.cut and journal and _beyond(journal[-1], inputs):
        journal.pop()  # the cut came between this entry and its input, which is another topic's
        ends_ns.pop()
    if not journal:
        raise DataError(f"{log.path}: no journal of {name}; allowed: graphs that ran with `journal: true`")
    turns = list(_turns(name, _from_reset(log, name, journal), inputs, log))
    begun = {turn_key[1] for turn_key in map(_first_key, turns)}
    kept = {key: frame for key, frame in frames.items() if key[1] in begun}
    return Recorded(turns, kept, received, ends_ns[-1])


def _from_reset(log: Log, name: str, journal: list[Handled]) -> list[Handled]:
    """The journal from the first episode on, which must be the first since the node was started."""
    for k, handled in enumerate(journal):
        if handled.source == f"{name}-control" and _kind(handled) == "reset":
            if handled.episode != 1:
                raise DataError(
                    f"{log.path}: begins with episode {handled.episode} of {name}, which may have learned from those "
                    "before; allowed: recordings from the start of the graph"
                )
            return journal[k:]
    raise DataError(f"{log.path}: no episode of {name} from its start; begin to record before the graph plays")


def _turns(name: str, journal: list[Handled], inputs: dict[Key, bytes], log: Log) -> Iterator[Turn]:
    """Entries that belong together: goals heard in one go; answers heard while an observation was handled."""
    group: list[Handled] = []
    for handled in journal:
        if group and not _joins(name, group[-1], handled):
            yield _turn(name, group, inputs, log)
            group = []
        group.append(handled)
    yield _turn(name, group, inputs, log)


def _beyond(handled: Handled, inputs: dict[Key, bytes]) -> bool:
    """True for an input that came after all that was recorded of its topic and session."""
    key = handled.source, handled.session, handled.sequence
    if handled.source == IDLE or len(handled.frame) or key in inputs:
        return False
    there = [n for source, session, n in inputs if (source, session) == key[:2]]
    return handled.sequence > max(there, default=-1)


def _joins(name: str, before: Handled, handled: Handled) -> bool:
    if name == "high":
        return handled.source == "reachability"
    return before.source == handled.source == "goal" and not len(before.reads_ns)


def _turn(name: str, group: list[Handled], inputs: dict[Key, bytes], log: Log) -> Turn:
    fed: list[tuple[str, bytes]] = []
    replies: list[bytes] = []
    for handled in group:
        frame = handled.frame.tobytes()
        if name == "high" and handled.source == "reachability":
            replies.append(frame)
            continue
        if handled.source != IDLE and not frame:
            key = handled.source, handled.session, handled.sequence
            if key not in inputs:
                raise DataError(f"{log.path}: {said(key)} was handled by {name} and is not in the recording")
            frame = inputs[key]
        fed.append((handled.source, frame))
    reads = tuple(int(r) for handled in group for r in handled.reads_ns)
    return Turn(tuple(fed), tuple(replies), reads, tuple(int(n) for n in group[-1].scored))


def _first_key(turn: Turn) -> Key:
    topic, frame = turn.inputs[0] if turn.inputs else ("", b"")
    return key_of(topic, frame) if frame else ("", 0, 0)


def _kind(handled: Handled) -> str:
    return wire.decode(handled.frame.tobytes()).header.kind
