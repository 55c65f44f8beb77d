"""The task `point`: bring the tool to where the camera sees a target. What it takes is learned from postures.

The level is as small as one can be: remembered postures with what the camera saw there; to reach a target it goes to
the posture that was seen nearest to it. It knows no kinematics and no frames.
"""

import json
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np

from hjepa.arrays import load_arrays, save_arrays
from hjepa.errors import DataError
from hjepa.typed_yaml import Section, key
from robots.capture import CaptureConfig, pose
from robots.catalog import make_driver
from robots.moves import armed, go_to, stay


class TaskSection(Section):
    name: Literal["point"] = key("point", "which task this configuration is of")
    targets: int = key(3, "how many targets are reached for", ge=1)
    seed: int = key(0, "seeds postures and targets", ge=0)


class RobotSection(Section):
    name: str = key("twolink", "the arm, by name or description")
    driver: str = key("twolink", "what moves it")


class Settings(Section):
    task: TaskSection = TaskSection()
    robot: RobotSection = RobotSection()
    postures: int = key(12, "postures to look at", ge=1)


class Point:
    """A task for hjepa's verbs, see hjepa.tasks.catalog.Task."""

    schema = Settings

    def collect(self, config, asked):
        """Look at random postures."""
        seen = [self._look(bench, q) for bench, q in self._postures(config, config.postures, config.task.seed)]
        save_arrays(
            (asked.data or Path("data")) / "postures.npz", {"q": [q for q, _ in seen], "at": [x for _, x in seen]}
        )
        print(f"{len(seen)} postures")

    def train(self, config, asked):
        """Remember them."""
        kept = load_arrays((asked.data or Path("data")) / "postures.npz", ("q", "at"), "postures", "collect again")
        save_arrays(asked.out / "point.npz", kept)
        print(f"weights: {asked.out / 'point.npz'}")

    def evaluate(self, config, asked):
        """Reach for targets that were seen at other postures; how far off the tool is."""
        weights = (asked.data or Path("runs/train")) / "point.npz"
        if not weights.exists():
            raise DataError(f"no weights at {weights}; allowed: train first")
        kept = load_arrays(weights, ("q", "at"), "weights", "train again")
        off = []
        for bench, q in self._postures(config, config.task.targets, config.task.seed + 1):
            target = self._look(bench, q)[1]
            nearest = int(np.argmin(np.linalg.norm(kept["at"] - target, axis=1)))
            off.append(float(np.linalg.norm(self._look(bench, kept["q"][nearest])[1] - target)))
        figures = {"targets": len(off), "median_m": float(np.median(off))}
        print(json.dumps(figures))
        if asked.json is not None:
            asked.json.write_text(json.dumps(figures))

    demo = evaluate

    def _postures(self, config, count, seed):
        rng = np.random.default_rng(seed)
        with closing(make_driver(config.robot.driver, config.robot.name)) as driver:
            bench = armed(driver)
            for _ in range(count):
                yield bench, pose(driver.spec, CaptureConfig(), rng)

    def _look(self, bench, q):
        go_to(bench, q)
        last = stay(bench, 0.05)[-1]
        return last.q_rad, last.tracker_xyz_m[last.tracker_mask].mean(0)


TASK = Point()
