"""Every kind of picture by name: computes what it shows and draws it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hjepa import api
from hjepa.config import Config
from hjepa.evaluation.results import Played, read_csv
from hjepa.insight import decision, maps, origin, played, timing
from hjepa.viewer.pictures import energy, landing, latent, ledger, probes, shots
from hjepa.viewer.pictures.paper import Picture


class Size(NamedTuple):
    """How much is computed."""

    embedded: int = 4000  # real strokes
    played: int = 60  # by the robot
    timed: int = 8  # in real time
    grid: int = 41  # points across a slice of the energy


QUICK = Size(embedded=500, played=4, timed=1, grid=15)


class Asked(NamedTuple):
    """What pictures are made from."""

    config: Config
    name: str  # of the configuration or the file, for the small print
    size: Size
    strokes: Path | None = None  # strokes.csv of a run; None: strokes are played
    recording: Path | None = None  # .mcap; None: a short run in real time

    def note(self, *weights: str) -> str:
        """The small print of what the configuration makes; weights: those that are shown, if not the agent's."""
        return origin.small_print(self.config, self.name, weights or None)

    def note_of_strokes(self) -> str:
        """That of strokes, played or read."""
        return self.note() if self.strokes is None else origin.of_file(self.strokes)


def make(what: Sequence[str], asked: Asked, made: Callable[[str], None] = lambda _: None) -> list[Picture]:
    """Pictures by name (see MAKERS), strokes being played once for all of them; `made` is told each name."""
    robot: list[list[Played]] = []

    def strokes() -> list[Played]:
        if not robot:
            robot.append(_strokes(asked))
        return robot[0]

    out = []
    for name in what:
        out.append(MAKERS[name](asked, strokes))
        made(name)
    return out


def _strokes(asked: Asked) -> list[Played]:
    if asked.strokes is not None:
        return [Played(result) for result in read_csv(asked.strokes)]
    return list(api.play(api.load(_with(asked.config, strokes=asked.size.played)), record=True))


def _with(config: Config, *, strokes: int | None = None, clock: str | None = None) -> Config:
    """The configuration with another count of strokes, or another clock."""
    task = config.task if strokes is None else config.task.model_copy(update={"strokes": strokes})
    run = config.run if clock is None else config.run.model_copy(update={"clock": clock})
    return config.model_copy(update={"task": task, "run": run})


Strokes = Callable[[], list[Played]]


def _latent(asked: Asked, _: Strokes) -> Picture:
    return latent.draw(maps.latent_map(asked.config, asked.size.embedded), asked.note("high"))


def _probes(asked: Asked, _: Strokes) -> Picture:
    return probes.draw(maps.probe_table(asked.config, asked.size.embedded), asked.note("low", "high", "rally"))


def _shots(asked: Asked, strokes: Strokes) -> Picture:
    real = played.real_shots(asked.size.embedded, asked.config.task.seed)
    return shots.draw([real, played.robot_shots(strokes())], asked.note_of_strokes())


def _landing(asked: Asked, strokes: Strokes) -> Picture:
    return landing.draw([stroke.result for stroke in strokes()], asked.note_of_strokes())


def _energy(asked: Asked, _: Strokes) -> Picture:
    return energy.draw(decision.landscape(_with(asked.config, strokes=1), asked.size.grid), asked.note())


def _ledger(asked: Asked, _: Strokes) -> Picture:
    if asked.recording is not None:
        note = origin.of_recording(asked.recording, timing.recording(asked.recording).about)
        return ledger.draw(timing.read(asked.recording), note)
    timed = _with(asked.config, strokes=asked.size.timed, clock="realtime")
    return ledger.draw(timing.measure(timed), asked.note())


MAKERS: dict[str, Callable[[Asked, Strokes], Picture]] = {
    "latent": _latent,
    "shots": _shots,
    "landing": _landing,
    "probes": _probes,
    "energy": _energy,
    "ledger": _ledger,
}
