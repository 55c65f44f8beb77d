"""Everything the command line does, as functions; `hjepa.load` is `load` here.

system = load("badminton")                      # or a file, with overrides such as ["low.iterations=4"]
world = system.world()
observation = world.reset(*system.stroke(0))
command = system.act(observation)
for stroke in play(system): print(stroke.result)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hjepa import __version__, build, factories
from hjepa import config as settings
from hjepa.bus.graph import Episode, Graph
from hjepa.bus.inproc import InprocGraph
from hjepa.bus.processes import ProcessGraph
from hjepa.config import Config, RobotSection
from hjepa.diary import decision_of
from hjepa.errors import ConfigError, DataError, extra
from hjepa.evaluation.baselines import ClassicalAgent
from hjepa.evaluation.episodes import Reference, feed_of, humans, measure, run
from hjepa.evaluation.feasible import NEXT_LAUNCH_S, Starts, judge, stand, stroke_seed
from hjepa.evaluation.results import Played, Recording
from hjepa.protocols import Agent
from hjepa.tasks.badminton.feeds import FeedTable, load_feed
from hjepa.tasks.badminton.rallies import Rallies
from hjepa.types import NS, Array, Decision, JointTrajectory, Launch, Observation, RobotSpec, RobotState
from robots.spec import load_spec

if TYPE_CHECKING:
    from robots.sim.disturbance import Disturbance
    from robots.sim.world import SimulatedCourt

Report = Callable[[int, int, Mapping[str, float]], None]
Judging = Callable[[int, int], None]
WORLD = "robots.sim.court:CourtWorld"
LESSONS = 1000  # strokes that the classical agent plays for `bc`


class System:
    """A configuration brought to life. It is itself an Agent: `act` is the configured agent's."""

    def __init__(self, config: Config, acts: bool = True) -> None:
        """acts: whether it will be asked to; where others act (the nodes of a graph), it is there a second earlier."""
        self.config, self.spec = config, load_spec(config.robot.name)
        self._world: SimulatedCourt | None = None
        self._starts: Starts | None = None
        self._feed: FeedTable | None = None
        self._agent = self.agent(config.agent.name) if acts else None
        self._seen_ns = -1

    def agent(self, name: str) -> Agent:
        """A new agent of this configuration; WeightsError names the file if its weights are missing."""
        return build.build_agent(self.config, name, self._truth)

    @property
    def two_levels(self) -> bool:
        """Whether the configured agent has a high and a low level, which may be nodes on the bus."""
        return build.two_levels(self.config)

    def world(self, gui: bool = False) -> SimulatedCourt:
        """The simulated court, connected; to be closed. The agent `oracle` is told the truth of the latest one."""
        self._world = factories.build_world(self.config, gui, record=True)
        self._world.connect()
        return self._world

    def reset(self, seed: int = 0) -> None:
        """A new stroke comes."""
        self._acting.reset(seed)
        self._seen_ns = -1

    def act(self, observation: Observation) -> JointTrajectory | None:
        """The agent's command, or None: the last one stays in force. Time that starts again means a new stroke."""
        if observation.stamp_ns <= self._seen_ns:
            self.reset(self.config.task.seed)
        self._seen_ns = observation.stamp_ns
        return self._acting.act(observation)

    @property
    def _acting(self) -> Agent:
        if self._agent is None:
            raise ConfigError("this system has no agent of its own to act; allowed: hjepa.load")
        return self._agent

    @property
    def feed(self) -> FeedTable:
        """The strokes that the configuration asks for."""
        if self._feed is None:
            self._feed = feed_of(self.config)
        return self._feed

    def stroke(self, i: int) -> tuple[RobotState, Launch, int]:
        """What `world.reset` takes for stroke i: where the robot stands, what comes towards it, a seed."""
        if not 0 <= i < len(self.feed.id):
            raise DataError(f"stroke {i}; allowed: 0 to {len(self.feed.id) - 1} (task.strokes)")
        seed = stroke_seed(self.config.task.seed, int(self.feed.id[i]))
        return self.starts(i + 1).state(i), self.feed.launch(i), seed

    def starts(self, count: int | None = None, judging: Judging | None = None) -> Starts:
        """Start states and feasibility of the first `count` strokes, the same for every agent; kept between runs.

        They are judged in the nominal world, so that a changed one (`world.*`, `robot.driver`) plays the same strokes.
        """
        wanted = len(self.feed.id) if count is None else count
        if self._starts is None or len(self._starts.feasible) < wanted:
            with factories.build_world(Config(robot=RobotSection(name=self.config.robot.name))) as nominal:
                feed = self.feed.take(np.arange(wanted))
                self._starts = judge(nominal, feed, cache_folder() / f"starts-{__version__}", progress=judging)
        return self._starts

    def _truth(self) -> tuple[Array, Array]:
        if self._world is None:
            raise ConfigError("agent 'oracle' is told the truth by a simulated world; make one first: system.world()")
        return self._world.shuttle()


def load(name_or_file: str | Path | Config, overrides: Sequence[str] = ()) -> System:
    """A configuration by name or file, brought to life; WeightsError names the file if weights are missing.

    Sets torch to one thread.
    """
    build.use_one_thread()
    return System(name_or_file if isinstance(name_or_file, Config) else settings.load(name_or_file, overrides))


def cache_folder() -> Path:
    """Where results that can be computed again are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "hjepa"


def play(system: System, *, record: bool = False, gui: bool = False) -> Iterator[Played]:
    """Every stroke of the configuration, one by one, as it is played by its agent."""
    c, starts = system.config, system.starts()
    with closing(system.world(gui)) as world:
        yield from run(
            world,
            system.agent(c.agent.name),
            system.feed,
            starts,
            clock=c.run.clock,
            replan_period_ms=c.low.replan_period_ms,
            seed=c.task.seed,
            weights_seed=weights_seed(c),
            carry_over=c.task.start == "carried",
            record=record,
        )


def weights_seed(config: Config) -> int:
    """Training seed of the low level's weights, for the record; 0 for agents without."""
    if config.agent.name not in build.LEARNED:
        return 0
    return int(build.low_bundle(config, load_spec(config.robot.name)).header.get("seed", 0))


def play_bus(
    system: System,
    *,
    processes: bool = False,
    gui: bool = False,
    log: Path | None = None,
    disturbances: Sequence[Disturbance | None] = (),
) -> Iterator[Played]:
    """The same with robot, low and high level as nodes that talk over ZMQ: threads of this process, or processes.

    log: record all that is said into this file (.mcap). disturbances: what happens to the shuttle of each stroke, in
    threads only. ConfigError for agents that have no two levels.
    """
    c = system.config
    if not system.two_levels:
        allowed = ", ".join(build.HIERARCHICAL)
        counted = "" if c.levels.count == 2 else f" with levels.count {c.levels.count}"
        raise ConfigError(f"agent '{c.agent.name}'{counted} has no two levels; over the bus play: {allowed}")
    system.starts()
    if disturbances and processes:
        raise ConfigError("what happens to the shuttle is told to a world in this process; allowed: without processes")
    world = None if processes else factories.build_world(c, gui, record=True)
    todo = iter(disturbances)
    with _graph(c, system.spec, world, gui, log is not None) as graph, _logged(log, c, graph):
        strokes = play_over(graph, system)
        while True:
            if world is not None:
                world.config = replace(world.config, disturbance=next(todo, None))
            played = next(strokes, None)
            if played is None:
                return
            yield played


def play_over(graph: Graph, system: System, *, finish: bool = False) -> Iterator[Played]:
    """Every stroke of the configuration on a graph that runs already; `finish` as in hjepa.bus.graph.Graph.play."""
    for _, played in episodes_over(graph, system, finish=finish):
        yield played


def episodes_over(graph: Graph, system: System, *, finish: bool = False) -> Iterator[tuple[Episode, Played]]:
    """The same with all that the nodes said."""
    feed, starts = system.feed, system.starts()
    c = system.config
    carried = c.task.start == "carried"
    own: RobotState | None = None
    for i in range(len(feed.id)):
        start = own if carried and own is not None else starts.state(i)
        seed = stroke_seed(c.task.seed, int(feed.id[i]))
        episode = graph.play(start, feed.launch(i), seed, record=True, finish=finish)
        counts = episode.status["driver"].counts
        result = measure(
            feed,
            i,
            episode.outcome,
            decisions_of(episode),
            misses=counts.get("command.started_late", 0) + counts.get("dropped.command.expired", 0),
            feasible=bool(starts.feasible[i]),
            weights_seed=weights_seed(c),
            carried=carried,
        )
        own = _next_start(episode)
        yield episode, Played(result, _recording(episode))


def _graph(c: Config, spec: RobotSpec, world: SimulatedCourt | None, gui: bool, journal: bool = False) -> Graph:
    """Driver, high and low of a configuration, not started yet; world: None: each in a process of its own."""
    period = c.low.replan_period_ms // 10
    timing: dict[str, Any] = {"clock": c.run.clock, "low_period_ticks": period, "high_period_ticks": period}
    timing["journal"] = journal
    if world is not None:
        return InprocGraph(world, build.build_high(c, c.agent.name), build.build_low(c, spec, c.agent.name), **timing)
    return ProcessGraph(factories.node_specs(c, gui), **timing)


@contextmanager
def _logged(log: Path | None, config: Config, graph: Graph) -> Iterator[None]:
    """Record a running graph into a file while the block runs; None: do not."""
    if log is None:
        yield
        return
    with extra("log"):
        from hjepa.bus.listen import Place
        from hjepa.bus.record import recording
        from hjepa.provenance import about_of
    with recording(Place(graph.config.base, graph.context), log, about_of(config, graph.config)):
        yield


def decisions_of(episode: Episode) -> list[tuple[int, Decision]]:
    """What was decided over the bus, as an agent in one process would tell it."""
    goals = {goal.id: goal for goal in episode.goals}
    spent = episode.wall_ms("high") if "high" in episode.status else np.zeros(0)  # it died on the way
    high_ms = float(spent.max()) if len(spent) else float("nan")  # a stroke's one decision; the others only look
    out: list[tuple[int, Decision]] = []
    last: Array | None = None
    for message in episode.messages["plan"]:
        plan = message.value
        told = np.append(plan.m, [plan.energy, plan.candidates])
        if plan.goal_id not in goals or (last is not None and np.array_equal(told, last, equal_nan=True)):
            continue  # near the contact the low level repeats its last plan
        last = told
        out.append((message.header.stamp_ns, decision_of(goals[plan.goal_id], plan, high_ms)))
        high_ms = float("nan")
    return out


def _recorded(episode: Episode) -> Mapping[str, Any]:
    if episode.record is None:
        raise ConfigError("the world recorded nothing; allowed: a world with record=True")
    return episode.record.arrays


def _recording(episode: Episode) -> Recording:
    arrays = _recorded(episode)
    return Recording(arrays["stamp_ns"] / NS, arrays["q_rad"], arrays["shuttle_m"], tuple(episode.alarms))


def _next_start(episode: Episode) -> RobotState:
    """Joints when the next shuttle is launched."""
    arrays, due_s = _recorded(episode), episode.outcome.contact_s + NEXT_LAUNCH_S  # nan without a contact: at the end
    last = len(arrays["stamp_ns"]) - 1
    k = last if np.isnan(due_s) else min(int(np.searchsorted(arrays["stamp_ns"], round(due_s * NS))), last)
    return RobotState(arrays["q_rad"][k], arrays["dq_rad_s"][k])


def reference() -> Reference:
    """Figures of the humans, printed beside an agent's."""
    return humans()


def collect(
    config: Config,
    out: Path,
    *,
    swings: int,
    workers: int,
    ray: str | None = None,
    on_progress: Report | None = None,
    quick: bool = False,
    codec: Path | None = None,
) -> int:
    """Fill a folder with at least so many executed swings, going on where a killed run was; how many are there.

    ray: address of a Ray cluster that makes them, or 'local' for one of `workers` on this machine. quick: a data set of
    seconds (hjepa.training.small), whatever `swings` says. codec: weights of a low level whose motor codec is used.
    """
    from hjepa.training import small
    from hjepa.training.pipeline import SwingRun, collect_swings
    from hjepa.training.shards import processes
    from hjepa.training.spread_ray import ray_workers

    spec, chosen = load_spec(config.robot.name), small.SWINGS if quick else SwingRun()
    wanted = replace(chosen.collect, swings=chosen.collect.swings if quick else swings, seed=config.task.seed)
    chosen = replace(chosen, collect=wanted, seed=config.task.seed)
    lost: list[str] = []

    def report(done: int, total: int, figures: Mapping[str, float]) -> None:
        if on_progress:
            on_progress(done, total, {**figures, "shards lost and dealt again": len(lost)} if lost else figures)

    with nullcontext(processes(workers)) if ray is None else ray_workers(ray, workers, lost.append) as spread:
        return collect_swings(spec, WORLD, out, chosen, spread=spread, progress=report, codec_of=codec)


def lessons(spec: RobotSpec, strokes: int, seed: int) -> list[tuple[RobotState, Launch, int]]:
    """What `world.reset` takes for so many strokes of the training matches, drawn with `seed`.

    The robot stands where the real receiver stood, at rest, its arm at home.
    """
    feed = load_feed("train")
    feed = feed.take(np.random.default_rng([seed, 2]).choice(len(feed.id), min(strokes, len(feed.id)), replace=False))
    home = RobotState(spec.q_home_rad, np.zeros(spec.joints))
    return [
        (stand(spec, home, feed.receiver_xy_m[i]), feed.launch(i), stroke_seed(seed, int(feed.id[i])))
        for i in range(len(feed.id))
    ]


def train(
    level: str,
    config: Config,
    data: Path,
    out: Path,
    *,
    workers: int = 2,
    on_progress: Report | None = None,
    played: Rallies | None = None,
    device: str = "auto",
    quick: bool = False,
    start: Path | None = None,
) -> Path:
    """Train `high` (from the real strokes), `rally` (from real rallies, and those `played`), `cover` (from strokes that
    the configured agent plays from many places, into `data`), `observer` (from watching it play, into `data`), `low`
    (from the swings in `data`, towards the high level's embeddings), or the baseline `bc` (from strokes that the
    classical agent plays, in so many processes, into `data`).

    The low level takes the high one's weights from `out`, else from where the configuration finds them. Resumable.
    `high` and `low` use a device (auto, cpu or cuda) and all processes that torchrun started; the others do not.
    quick: a few steps of every stage (hjepa.training.small); the weights are of no use. start: weights of a low level
    that is settled again instead of being trained from nothing.
    """
    build.use_one_thread()
    if level in ("high", "low"):
        return _train_on_ranks(level, config, data, out, on_progress, device, quick, start)
    out.mkdir(parents=True, exist_ok=True)
    from torch.utils.tensorboard import SummaryWriter

    from hjepa.training import pipeline, small
    from hjepa.training.cloning import CloneTraining
    from hjepa.training.tactics import TacticsTraining

    with closing(SummaryWriter(str(out / "curves" / level))) as writer:
        seed = config.task.seed
        if level == "rally":
            sizes = config.levels.rally.model_dump(exclude_none=True)
            tactics = small.TACTICS if quick else TacticsTraining()
            return pipeline.train_rally_level(out, seed, on_progress, writer, played, tactics, sizes)
        spec = load_spec(config.robot.name)
        if level == "cover":
            from hjepa import covering

            run = covering.CoverTraining(seed=seed)
            run = replace(run, strokes=small.PLAYED, steps=small.FIT_STEPS) if quick else run
            lessons_played = covering.collect_covered(config, data, run, workers, on_progress)
            return covering.train_cover(lessons_played, out, run, spec.identity, on_progress)
        if level == "observer":
            from hjepa import feinting

            watching = feinting.ObserverTraining(seed=seed)
            watching = replace(watching, strokes=small.PLAYED, steps=small.FIT_STEPS) if quick else watching
            return feinting.train_observer(config, data, out, watching, workers, on_progress)
        return pipeline.train_clone(
            spec,
            WORLD,
            partial(ClassicalAgent, config=build.timing_of(config)),
            lessons(spec, small.PLAYED if quick else LESSONS, seed),
            data,
            out / build.FILES["bc"],
            seed,
            replan_period_ms=config.low.replan_period_ms,
            workers=workers,
            progress=on_progress,
            writer=writer,
            run=small.CLONE if quick else CloneTraining(),
        )


def _train_on_ranks(
    level: str, config: Config, data: Path, out: Path, on_progress: Report | None, device: str, quick: bool,
    start: Path | None,
) -> Path:  # fmt: skip
    """`high` or `low`, in the processes that torchrun started or this one alone; the first of them reports."""
    from torch.utils.tensorboard import SummaryWriter

    from hjepa.training import pipeline, small
    from hjepa.training.ranks import joined

    with joined(device) as ranks, ExitStack() as stack:
        out.mkdir(parents=True, exist_ok=True)
        curves = str(out / "curves" / level)
        writer = stack.enter_context(closing(SummaryWriter(curves))) if ranks.leads else None
        progress = on_progress if ranks.leads else None
        if level == "high":
            sizes = config.levels.high.model_dump(exclude_none=True)
            few: dict[str, Any] = {"run": small.HIGH, "limits": {}} if quick else {}
            return pipeline.train_high_level(out, config.task.seed, progress, writer, ranks, sizes=sizes, **few)
        fresh = out / build.FILES["high"]
        path = fresh if fresh.exists() else build.weights_path(config, "high")
        high = build.load_high(path)
        build.check_sizes(config, "high", path, high.config)
        spec, sizes = load_spec(config.robot.name), config.levels.low.model_dump(exclude_none=True)
        few = {"run": small.LOW, "flights": small.FLIGHTS, "alarm": False} if quick else {}
        return pipeline.train_low_level(
            spec, data, high, out, config.task.seed, progress, writer, ranks=ranks, sizes=sizes, start=start, **few
        )
