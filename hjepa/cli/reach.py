"""The verbs of the task for the command line: demo, eval, collect, train."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table

from hjepa.cli import files
from hjepa.cli.progress import reporter
from hjepa.errors import DataError
from hjepa.tasks.catalog import Asked
from hjepa.tasks.kinematics import joint_frames
from hjepa.tasks.reach import play
from hjepa.tasks.reach.figures import SETTLED_S, Following
from hjepa.tasks.reach.nodes import weights_path
from hjepa.tasks.reach.settings import ReachSettings
from hjepa.tasks.reach.target import Path as Moving
from hjepa.tasks.reach.target import target_path
from hjepa.types import RobotSpec
from robots.spec import load_spec

WORLD = "robots.sim.reach:babble_world"
FASTEST_M_S = 0.3  # of the targets that a level watches in training
_SHOW_S = 2.0  # of distances in the live table


class ReachTask:
    """See hjepa.tasks.catalog.Task."""

    schema = ReachSettings

    def demo(self, config: ReachSettings, asked: Asked) -> None:
        """Follow a target before one's eyes, beside the rivals; film and figures are written."""
        files.check_folder(asked.out)
        play.check(config, asked.processes)
        console, c = Console(), config.task
        console.print(
            f"[bold]{config.robot.name}[/bold] follows a target at {c.speed_m_s:g} m/s for {c.seconds:g} s; "
            f"agent {config.agent.name}, seed {c.seed}\n"
        )
        with _live(console) as watcher:
            run = play.follow(config, processes=asked.processes, gui=asked.gui, watcher=watcher)
        rows = [
            run.figures,
            *(_rival(config, name) for name in ("still", "resolved-rate") if name != run.figures.agent),
        ]
        console.print(_table(rows))
        _warn(console, config, run.figures)
        with files.whole(asked.out) as folder:
            (folder / "summary.json").write_text(run.figures.to_json(), encoding="utf-8")
            files.write_config(folder, config)
            if asked.video:
                from hjepa.tasks.reach.film import write_film

                with console.status("drawing the film"):
                    write_film(
                        folder / "demo.mp4", load_spec(config.robot.name), run.trace, f"{config.robot.name} follows"
                    )
        console.print(f"\nwritten to {asked.out}/: {', '.join(sorted(path.name for path in asked.out.iterdir()))}")

    def evaluate(self, config: ReachSettings, asked: Asked) -> None:
        """Follow a target and print the figures."""
        if asked.json is not None:
            files.check_file(asked.json)
        play.check(config, asked.processes)
        console = Console()
        run = play.follow(config, processes=asked.processes, gui=asked.gui)
        console.print(_table([run.figures]))
        _warn(console, config, run.figures)
        if asked.json is not None:
            files.write_text(asked.json, files.with_config(run.figures.to_json(), config))
            console.print(f"written: {asked.json}")

    def collect(self, config: ReachSettings, asked: Asked) -> None:
        """Record motor babbling; started again it goes on where it was."""
        from hjepa.training.babble import BabbleConfig, collect_babble

        folder = asked.data or data_folder(config)
        files.check_folder(folder)
        babble = BabbleConfig(shards=config.babble.minutes, seed=config.babble.seed)
        console, spec = Console(), load_spec(config.robot.name)
        with reporter(console, "ticks") as report:
            kept = collect_babble(
                spec, WORLD, folder, babble, workers=asked.workers, progress=lambda done, total: report(done, total, {})
            )
        files.write_config(folder, config)
        console.print(f"{kept} ticks of {spec.name}'s babbling in {folder}")

    def train(self, config: ReachSettings, asked: Asked) -> None:
        """Train the level from its babbling; resumable."""
        if asked.level != "low":
            raise DataError(f"train {asked.level}: the task reach has one level; allowed: low")
        files.check_folder(asked.out)
        from torch.utils.tensorboard import SummaryWriter

        from hjepa.training.babble import load_babble
        from hjepa.training.babbled import BabbledTraining, train_babbled

        spec = load_spec(config.robot.name)
        babble = load_babble(asked.data or data_folder(config), spec)
        run = BabbledTraining(**config.train.model_dump(), seed=config.task.seed)
        out = asked.out / f"reach-{spec.name}"
        console = Console()
        with closing(SummaryWriter(str(out / "curves"))) as writer, reporter(console, "train low") as report:
            moving = _moving(spec, config)
            path = train_babbled(
                spec, babble, moving, run, out, asked.out / weights_path(config).name, progress=report, writer=writer
            )
        files.write_config(out, config)
        console.print(f"weights: {path}\ncurves: tensorboard --logdir {out / 'curves'}")


TASK = ReachTask()


def data_folder(config: ReachSettings) -> Path:
    """Where a robot's babbling lies unless told otherwise."""
    return Path("data") / f"babble-{config.robot.name}"


def _moving(spec: RobotSpec, config: ReachSettings) -> Callable[[int], Moving]:
    """Targets to watch in training: any speed up to a half more than the usual one."""
    centre, half = joint_frames(spec, spec.q_home_rad)[-1, :3, 3], np.array(config.task.half_m)

    def make(seed: int) -> Moving:
        speed = float(np.random.default_rng([seed, 3]).uniform(0.0, FASTEST_M_S))
        return target_path(centre, half, speed, seed)

    return make


def _rival(config: ReachSettings, name: str) -> Following:
    named = config.agent.model_copy(update={"name": name})
    return play.follow(config.model_copy(update={"agent": named})).figures


def _mm(metres: float) -> str:
    return f"{1e3 * metres:.1f}"


def _table(rows: list[Following]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("agent", "median mm", "p90", "worst", "with 1st s", "plan ms", "p99", "speed use"):
        table.add_column(name, justify="left" if name == "agent" else "right", no_wrap=True)
    for r in rows:
        plan = [f"{ms:.1f}" if np.isfinite(ms) else "-" for ms in (r.plan_p50_ms, r.plan_p99_ms)]
        whole = f"{_mm(r.median_all_m)} / {_mm(r.p90_all_m)}"
        table.add_row(
            r.agent, _mm(r.median_m), _mm(r.p90_m), _mm(r.worst_m), whole, *plan, f"{100 * r.speed_use:.0f} %"
        )
    table.caption = f"distance of the tool from the target, without the first {SETTLED_S:g} s"
    return table


def _warn(console: Console, config: ReachSettings, r: Following) -> None:
    if r.plan_p99_ms > config.low.latency_ms:
        late = f"low.latency_ms is {config.low.latency_ms}, but the slowest plans took {r.plan_p99_ms:.0f} ms here"
        console.print(f"[yellow]warning:[/yellow] {late}")


@contextmanager
def _live(console: Console) -> Iterator[play.Watcher]:
    """A line that shows how far the tool is off, on a terminal."""
    near: deque[tuple[float, float]] = deque()
    with Live(console=console, refresh_per_second=8, transient=True) as live:

        def show(time_s: float, distance_m: float, plan_ms: float) -> None:
            near.append((time_s, distance_m))
            while near[0][0] < time_s - _SHOW_S:
                near.popleft()
            if round(100 * time_s) % 10 == 0:
                d = np.array([gap for _, gap in near])
                median, p90 = (_mm(float(np.percentile(d, share))) for share in (50, 90))
                last = f"last {_SHOW_S:g} s: median {median} mm, p90 {p90} mm"
                plan = f"   plan {plan_ms:.1f} ms" if np.isfinite(plan_ms) else ""
                live.update(f"{time_s:5.1f} s   now {_mm(distance_m)} mm   {last}{plan}")

        yield show
