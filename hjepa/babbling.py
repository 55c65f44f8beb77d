"""Records how a robot moves: motor babbling, or a recorded motion again, on any driver of the catalogue, into MCAP.

    babble/motion_0000.mcap, motion_0001.mcap, ...    a minute each, written whole: a killed run goes on behind the last

Only the driver moves the robot: commands pass its guard, whose limits are a share of the robot's. Needs mcap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hjepa.bus.logfile import About, Log, LogWriter
from hjepa.bus.messages import pack, unpack
from hjepa.errors import DataError, WireError
from hjepa.protocols import Driver
from hjepa.training.babble import BabbleConfig, swing
from hjepa.training.recorded import Recorded, pieces_of, save_pieces
from hjepa.types import Array, JointTrajectory, Observation, RobotSpec
from robots.bench import Bench
from robots.moves import armed, follow, go_to, stay
from robots.replay import load_recording

Said = Callable[[int, int], None]
"""Told (recordings there, wanted)."""
_SETTLE_S = 0.3
_NEAR = 0.02  # rad by which a reading may lie outside of its joint's range
_SMOOTH = 11  # samples over which a recorded motion is smoothed


@dataclass(frozen=True)
class MotionConfig:
    """How long and how far. Speed is the driver's: see make_driver's speed_share."""

    recordings: int = 10
    seconds: float = 60.0  # of each
    spread_rad: float = 0.36  # standard deviation of a joint around home, while babbling
    use: float = 0.8  # share of the driver's limits, so that its guard has something left to correct with
    seed: int = 0


def record_motion(
    driver: Driver,
    spec: RobotSpec,
    out: Path,
    config: MotionConfig,
    motion: JointTrajectory | None = None,
    said: Said = lambda done, wanted: None,
) -> int:
    """Fill `out` with recordings; how many are there. spec: the robot with its own limits, which the files name.

    motion: followed in every recording; None: babbling, another one each time. DataError for a folder of another robot.
    """
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / f"motion_{k:04d}.mcap" for k in range(config.recordings)]
    todo = [k for k, path in enumerate(paths) if not path.exists()]
    _same_robot([path for path in paths if path.exists()][:1], spec)
    done = config.recordings - len(todo)
    said(done, config.recordings)
    if not todo:
        return done
    with closing(driver):
        bench = armed(driver)
        for k in todo:
            if bench.kind.world:
                bench.reset(driver, k)  # a world's episode may be too short for all of them
            babbled = _babble(driver.spec, config, k)
            _record(bench, babbled if motion is None else motion, paths[k], _about(spec, config))
            done += 1
            said(done, config.recordings)
        go_to(bench, driver.spec.q_home_rad)
    return done


def motion_of(file: Path, spec: RobotSpec, use: float = MotionConfig.use) -> JointTrajectory:
    """The motion of a recording (.mcap, or .npz of robots.replay), as slow as the robot's limits ask for.

    DataError where it leaves the joints' ranges, or is of another number of joints.
    """
    if file.suffix == ".npz":
        made = load_recording(file)
        stamps, q = made.stamp_ns, made.q_rad
    else:
        observations = read_recording(file).observations
        stamps = np.array([o.stamp_ns for o in observations], dtype=np.int64)
        q = np.array([o.q_rad for o in observations])
    if len(stamps) < 2 or q.shape[1] != spec.joints:
        raise DataError(
            f"{file}: {len(stamps)} readings of {q.shape[-1]} joints; allowed: {spec.joints} for {spec.name}"
        )
    outside = (q < spec.q_min_rad - _NEAR) | (q > spec.q_max_rad + _NEAR)
    if outside.any():
        joint = spec.joint_names[int(np.argmax(outside.any(axis=0)))]
        raise DataError(f"{file}: joint '{joint}' leaves its range; allowed: a motion that {spec.name} can make")
    return retimed(spec, (stamps - stamps[0]) / 1e9, q, use)


def retimed(spec: RobotSpec, times_s: Array, q_rad: Array, use: float) -> JointTrajectory:
    """Positions (N, J) at times (N,) as a smooth motion, stretched in time until it keeps that share of the limits."""
    dt_s = 0.01
    t = np.arange(0.0, times_s[-1] + dt_s, dt_s)
    q = np.stack([np.interp(t, times_s, column) for column in q_rad.T], axis=1)
    width = min(_SMOOTH, len(q))
    window = np.hanning(width + 2)[1:-1]
    padded = np.pad(q, ((width // 2, width - 1 - width // 2), (0, 0)), mode="edge")
    q = np.stack([np.convolve(column, window / window.sum(), mode="valid") for column in padded.T], axis=1)
    dq = np.gradient(q, dt_s, axis=0)
    ddq = np.gradient(dq, dt_s, axis=0)
    fast = (np.abs(dq).max(axis=0) / (use * spec.dq_max_rad_s)).max()
    hard = np.sqrt((np.abs(ddq).max(axis=0) / (use * spec.ddq_max_rad_s2)).max())
    stretch = max(1.0, float(fast), float(hard))
    slow = np.arange(0.0, stretch * t[-1] + dt_s, dt_s)
    dq = np.stack([np.interp(slow, stretch * t, column) for column in dq.T], axis=1) / stretch
    way = np.concatenate([np.zeros((1, q.shape[1])), (0.5 * dt_s * (dq[1:] + dq[:-1])).cumsum(axis=0)])
    return JointTrajectory(0, dt_s, np.clip(q[0] + way, spec.q_min_rad, spec.q_max_rad), dq, 1)


def read_recording(path: Path) -> Recorded:
    """Observations and commands of a recording, of `hjepa collect --driver` or of a graph."""
    observations: list[Observation] = []
    commands: list[JointTrajectory] = []
    for entry in Log(path):
        if entry.topic not in ("observation", "command"):
            continue
        try:
            message = unpack(entry.frame)
        except WireError:
            continue  # recorded as it came; the driver dropped it too
        if message.header.kind == "observation":
            observations.append(message.value)
        elif message.header.kind == "command":
            commands.append(message.value)
    if not observations:
        raise DataError(f"{path}: holds no observations; allowed: recordings of a robot")
    return Recorded(observations, commands)


def shards_of(files: Sequence[Path], spec: RobotSpec, folder: Path) -> int:
    """Recordings as shards of babbling in `folder`, for `hjepa train low`; the number of ticks.

    DataError names the file that is of another robot, or holds no motion.
    """
    _same_robot(files, spec)
    pieces = []
    for path in files:
        try:
            pieces += pieces_of(read_recording(path))
        except DataError as error:
            raise error if str(path) in str(error) else DataError(f"{path}: {error}") from error
        if pieces[-1].q_rad.shape[1] != spec.joints:
            raise DataError(f"{path}: is of {pieces[-1].q_rad.shape[1]} joints; allowed: {spec.joints} for {spec.name}")
    folder.mkdir(parents=True, exist_ok=True)
    return save_pieces(folder, spec, pieces)


# parts


def _babble(slow: RobotSpec, config: MotionConfig, k: int) -> JointTrajectory:
    babble = BabbleConfig(shard_s=config.seconds, spread_rad=config.spread_rad, use=config.use)
    return swing(slow, babble, np.random.default_rng([config.seed, k]))


def _record(bench: Bench, motion: JointTrajectory, path: Path, about: About) -> None:
    """One recording: to the start, then the motion; written under a hidden name until it is whole."""
    go_to(bench, motion.q_rad[0])
    stay(bench, _SETTLE_S)
    part = path.with_name(f".{path.name}.part")
    commands: list[JointTrajectory] = []
    with LogWriter(part, about) as log:
        written = [0, 0]

        def keep(topic: str, value: Observation | JointTrajectory, stamp_ns: int, valid_ns: int = 0) -> None:
            which = int(topic == "command")
            frame = pack(topic, value, session=1, sequence=written[which], stamp_ns=stamp_ns, valid_for_ns=valid_ns)
            log.write(topic, bytes(frame), stamp_ns)
            written[which] += 1

        for seen in follow(bench, motion, commands.append):
            for command in commands:
                keep("command", command, command.start_ns, command.valid_ns)
            commands.clear()
            keep("observation", seen, seen.stamp_ns)
            log.flush_if_due()
        for command in commands:
            keep("command", command, command.start_ns, command.valid_ns)
    part.replace(path)


def _about(spec: RobotSpec, config: MotionConfig) -> About:
    return About(seeds={"motion": config.seed}, versions={"robot": spec.name, "robot_sha256": spec.fingerprint})


def _same_robot(files: Iterable[Path], spec: RobotSpec) -> None:
    for path in files:
        said = Log(path).about.versions
        if said.get("robot_sha256", spec.fingerprint) != spec.fingerprint:
            name = said.get("robot", "another robot")
            raise DataError(f"'{path}' is a recording of {name} (other limits or links than {spec.name} has now); "
                            "allowed: the same robot")  # fmt: skip
