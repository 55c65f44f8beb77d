"""The ledger of a study: Optuna's trials in OUT/study.db (SQLite), which a kill at any instant leaves whole.

One process writes it, by a lock that the kernel drops when that process dies. A trial that was under way then is
continued under its own number with its own values, so that no trial is lost or doubled. What a trial tries depends on
the seed, its number and the trials finished before it. Legend: N strokes.
"""

from __future__ import annotations

import fcntl
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from hjepa.errors import DataError
from hjepa.tuning.objective import Figure
from hjepa.tuning.space import Dimension, Params, Space, is_whole

FILE, LOCK, NAME = "study.db", ".study.lock", "hjepa"
_STARTUP = 8  # trials drawn at random before the sampler models what came of them
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


class Trial(NamedTuple):
    """One trial that ended."""

    number: int
    state: str  # complete, pruned or fail
    params: Params
    values: dict[str, list[float]]  # figure -> (N,) one a stroke; empty where it failed
    objectives: tuple[float, ...]  # their means; empty unless complete
    wall_s: float
    reason: str  # why it failed, was stopped, or which trial it repeats


class Ledger:
    """The trials of one study. Made by `opened`."""

    def __init__(self, study: optuna.Study, space: Space, figures: Sequence[Figure]) -> None:
        self._study, self._space, self.figures = study, space, figures
        self._distributions = {name: _distribution(name, d) for name, d in space.search.items()}
        self._left = [t.number for t in study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING]
        self._running: dict[int, optuna.trial.Trial] = {}

    def next(self, most: int) -> tuple[int, Params] | None:
        """A trial to play: one that a killed process left, or a new one; None when `most` were begun."""
        begun = self._begun()
        if not self._left and begun >= most:
            return None
        number = self._left.pop(0) if self._left else begun
        state = np.random.SeedSequence([self._space.seed, number]).generate_state(1)
        self._study.sampler = _sampler(int(state[0]))
        if number < begun:
            left = self._study.get_trials(deepcopy=False)[number]
            trial = optuna.trial.Trial(self._study, left._trial_id)  # as Study.ask makes it
        else:
            trial = self._study.ask()
        for name, distribution in self._distributions.items():
            _suggest(trial, name, distribution)
        self._running[trial.number] = trial
        return trial.number, dict(trial.params)

    def may_stop(self, number: int, strokes: int, value: float) -> bool:
        """Tell Optuna's pruner how a trial of one objective stands after so many strokes; whether it would stop it."""
        trial = self._running[number]
        if strokes not in self._study.get_trials(deepcopy=False)[number].intermediate_values:
            trial.report(value, strokes)
        return trial.should_prune()

    def complete(self, number: int, values: Mapping[str, list[float]], means: Sequence[float], **notes: Any) -> None:
        """Write the result of a trial: figure -> (N,), and the means of the objectives."""
        self._end(number, TrialState.COMPLETE, list(means), values=dict(values), **notes)

    def prune(self, number: int, values: Mapping[str, list[float]], **notes: Any) -> None:
        """Write that a trial was stopped."""
        self._end(number, TrialState.PRUNED, None, values=dict(values), **notes)

    def fail(self, number: int, reason: str, **notes: Any) -> None:
        """Write that a trial could not be played."""
        self._end(number, TrialState.FAIL, None, reason=reason, **notes)

    def _end(self, number: int, state: TrialState, means: list[float] | None, **notes: Any) -> None:
        trial = self._running.pop(number)
        trial.set_user_attr("notes", json.loads(json.dumps(notes)))  # one write; the next one ends the trial
        self._study.tell(trial, means, state)

    def trials(self) -> list[Trial]:
        """All that ended, by number."""
        return [_trial(t) for t in self._study.get_trials(deepcopy=False, states=_ENDED)]

    def importance(self, figure: int) -> dict[str, float]:
        """Share of each key in what decides an objective (PED-ANOVA, Watanabe 2023); empty where too few trials."""
        complete = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        values = [t.values[figure] for t in complete]
        if len(complete) < _STARTUP or max(values) == min(values):
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(self._study, target=lambda t: t.values[figure])
        return {name: share for name, share in found.items() if np.isfinite(share)}

    def _begun(self) -> int:
        return sum(t.state != TrialState.WAITING for t in self._study.get_trials(deepcopy=False))


@contextmanager
def opened(
    out: Path, space: Space, figures: Sequence[Figure], start: Params, asked: Mapping[str, Any]
) -> Iterator[Ledger]:
    """The study of folder `out`, made if there is none, locked while the block runs.

    start: values of the configuration itself, trial 0. asked: what the study is of; DataError where another one lies
    there, or where another process tunes there.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"{out}: another process tunes there; wait for it, or give another --out") from error
        if not (out / FILE).exists():
            _make(out, space, figures, start, asked)
        with _loaded(out / FILE, _pruner(space)) as study:
            _same(out, study.user_attrs["asked"], json.loads(json.dumps(asked)))
            yield Ledger(study, space, figures)


def read(out: Path) -> tuple[dict[str, Any], list[Trial]]:
    """What the study of a folder is of, and its trials that ended; DataError where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not (out / FILE).is_file():
        raise DataError(f"{out}: no study there (no {FILE}); allowed: the --out of an earlier `hjepa tune`")
    with _loaded(out / FILE) as study:
        asked: dict[str, Any] = study.user_attrs["asked"]
        return asked, [_trial(t) for t in study.get_trials(deepcopy=False, states=_ENDED)]


def _make(out: Path, space: Space, figures: Sequence[Figure], start: Params, asked: Mapping[str, Any]) -> None:
    """A new study beside its place, moved there when it is whole."""
    part = out / f".{FILE}.part"
    part.unlink(missing_ok=True)
    Path(f"{part}-journal").unlink(missing_ok=True)
    with _storage(part) as storage:
        up, down = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        directions = [up if figure.maximise else down for figure in figures]
        study = optuna.create_study(study_name=NAME, storage=storage, directions=directions)
        study.set_user_attr("asked", dict(asked))
        study.enqueue_trial(dict(start))
    part.replace(out / FILE)


@contextmanager
def _loaded(path: Path, pruner: optuna.pruners.BasePruner | None = None) -> Iterator[optuna.Study]:
    """A study that lies there; DataError where the file is none of ours."""
    with ExitStack() as stack:
        try:
            study = optuna.load_study(study_name=NAME, storage=stack.enter_context(_storage(path)), pruner=pruner)
            study.user_attrs["asked"]
        except (KeyError, RuntimeError, SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            raise DataError(f"{path}: no study of `hjepa tune`; give another folder, or delete that file") from error
        yield study


@contextmanager
def _storage(path: Path) -> Iterator[optuna.storages.RDBStorage]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{path.absolute()}")
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP, multivariate=True, constant_liar=True)


def _pruner(space: Space) -> optuna.pruners.BasePruner:
    if space.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=space.block)
    return optuna.pruners.NopPruner()


def _distribution(name: str, d: Dimension) -> BaseDistribution:
    if d.choices:
        return CategoricalDistribution(d.choices)
    assert d.low is not None and d.high is not None
    if is_whole(name):
        return IntDistribution(int(d.low), int(d.high), log=d.log, step=int(d.step or 1))
    return FloatDistribution(d.low, d.high, log=d.log, step=d.step)


def _suggest(trial: optuna.trial.Trial, name: str, d: BaseDistribution) -> None:
    """Draw a value, or find the one that was drawn before a kill."""
    if isinstance(d, CategoricalDistribution):
        trial.suggest_categorical(name, d.choices)
    elif isinstance(d, IntDistribution):
        trial.suggest_int(name, d.low, d.high, step=d.step, log=d.log)
    elif isinstance(d, FloatDistribution):
        trial.suggest_float(name, d.low, d.high, step=d.step, log=d.log)


def _trial(t: optuna.trial.FrozenTrial) -> Trial:
    notes = t.user_attrs.get("notes", {})
    complete = t.state == TrialState.COMPLETE
    return Trial(
        t.number,
        t.state.name.lower(),
        dict(t.params),
        notes.get("values", {}),
        tuple(t.values) if complete else (),
        float(notes.get("wall_s", float("nan"))),
        str(notes.get("reason", "")),
    )


def _same(out: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """DataError that names what differs between the study that lies there and the one asked for."""
    before, now = dict(_flat(there)), dict(_flat(asked))
    for name in [*before, *now]:
        was, wanted = before.get(name, "nothing"), now.get(name, "nothing")
        if was != wanted:
            raise DataError(
                f"{out} holds a study of something else: {name} was {was}, is {wanted} now; give another --out, "
                f"or delete that folder"
            )


def _flat(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{at}.{name}" if at else str(name))
    else:
        yield at, json.dumps(value)
