"""A recording as a LeRobotDataset v3.0: parquet and mp4 files that LeRobot loads, written without it.

    data/chunk-000/file-000.parquet           a row a frame, a row group an episode (one stroke, one session on the bus)
    videos/KEY/chunk-000/file-000.mp4         all episodes after each other, if frames are drawn
    meta/info.json stats.json tasks.parquet   what the columns are, their statistics, what was to be done
    meta/episodes/chunk-000/file-000.parquet  where each episode lies, and its statistics
    meta/resampling.json                      ours: what putting the streams on one grid of times did to them

The format stamps frame k of an episode with k / fps. When its observation was really made stays in the column
`observation.stamp_ns`. Legend: J joints, N frames.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hjepa.bus.logfile import Log
from hjepa.bus.messages import unpack
from hjepa.errors import DataError, WireError
from hjepa.export.video import Film
from hjepa.types import NS, Array, JointTrajectory, Observation

VERSION = "v3.0"
VIDEO_KEY = "observation.images.court"
_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_FIRST = "chunk-000/file-000"
_LIMITS = {"chunks_size": 1000, "data_files_size_in_mb": 100, "video_files_size_in_mb": 200}
Render = Callable[[Array, Array, Array], Iterable[NDArray[np.uint8]]]
"""Draws an episode: times (N,), joint positions (N, J), shuttle (N, 3) with nan -> N frames (height, width, 3) RGB."""


class Report(NamedTuple):
    """What was written."""

    episodes: int
    frames: int
    sessions_left_out: int  # with fewer than two observations


class Session(NamedTuple):
    """What was said in one stroke, in order."""

    number: int
    observations: list[Observation]
    commands: list[tuple[int, JointTrajectory]]  # with the instant at which each was sent, ns
    goal: str  # type of the last goal; '' without


class Episode(NamedTuple):
    """A session on a grid of times: columns (N, ...) by feature, and what that did to it."""

    columns: dict[str, NDArray[Any]]
    task: str
    resampling: dict[str, float | int]


def export(log: Log, folder: Path, *, fps: int = 50, render: Render | None = None, robot: str = "") -> Report:
    """Write a data set into an empty folder; DataError if the recording holds no stroke."""
    found = list(sessions(log))
    episodes = [episode(session, fps) for session in found if len(session.observations) > 1]
    if not episodes:
        raise DataError(f"{log.path}: no stroke with observations; nothing to export")
    tasks = list(dict.fromkeys(e.task for e in episodes))
    for index, (e, start) in enumerate(zip(episodes, _starts(episodes), strict=True)):
        count = len(e.columns["timestamp"])
        e.columns["episode_index"] = np.full(count, index, dtype=np.int64)
        e.columns["index"] = np.arange(start, start + count, dtype=np.int64)
        e.columns["task_index"] = np.full(count, tasks.index(e.task), dtype=np.int64)
    features = {name: _feature(name, column) for name, column in episodes[0].columns.items()}
    if any(
        {n: c.shape[1:] for n, c in e.columns.items()} != {n: _width(f) for n, f in features.items()} for e in episodes
    ):
        raise DataError(f"{log.path}: strokes of robots with different numbers of joints; allowed: one robot")
    _write_rows(folder / f"data/{_FIRST}.parquet", episodes, features)
    video = _film(folder, episodes, fps, render) if render else None
    frames = sum(len(e.columns["timestamp"]) for e in episodes)
    if video:
        features[VIDEO_KEY] = video
    _write_meta(folder, episodes, tasks, features, fps, robot, log)
    return Report(len(episodes), frames, len(found) - len(episodes))


def sessions(log: Log) -> Iterator[Session]:
    """Every session of a recording in which the driver spoke."""
    kept: dict[int, Session] = {}
    for entry in log:
        if entry.topic not in ("observation", "command", "goal"):
            continue
        try:
            header, value = unpack(entry.frame)
        except WireError:
            continue
        session = kept.setdefault(header.session, Session(header.session, [], [], ""))
        if header.kind in ("observation", "last_observation"):
            session.observations.append(value)
        elif header.kind == "command":
            session.commands.append((header.stamp_ns, value))
        elif header.kind == "goal":
            kept[header.session] = session._replace(goal=value.type)
    return iter([session for session in kept.values() if session.observations])


def episode(session: Session, fps: int) -> Episode:
    """Each frame holds the newest observation not later than its instant, and where the joints were told to be then."""
    seen = sorted(session.observations, key=lambda o: o.stamp_ns)
    stamps = np.array([o.stamp_ns for o in seen], dtype=np.int64)
    count = int((stamps[-1] - stamps[0]) * fps // NS) + 1
    grid = stamps[0] + np.arange(count, dtype=np.int64) * NS // fps
    chosen = np.searchsorted(stamps, grid, side="right") - 1
    at_grid = [seen[k] for k in chosen]
    shuttle, visible = _shuttle(at_grid)
    action, commanded = _action(session.commands, grid, at_grid)
    columns: dict[str, NDArray[Any]] = {
        "observation.state": np.array([np.concatenate([o.q_rad, o.dq_rad_s]) for o in at_grid], dtype=np.float32),
        "action": action.astype(np.float32),
        "action.commanded": commanded,
        "observation.shuttle": shuttle.astype(np.float32),
        "observation.shuttle_seen": visible,
        "observation.stamp_ns": stamps[chosen],
        "timestamp": (np.arange(count) / fps).astype(np.float32),
        "frame_index": np.arange(count, dtype=np.int64),
    }
    task = f"return the shuttle with a {session.goal}" if session.goal else "return the shuttle"
    return Episode(columns, task, _resampling(stamps, grid, chosen))


def _resampling(stamps: NDArray[np.int64], grid: NDArray[np.int64], chosen: NDArray[np.intp]) -> dict[str, float | int]:
    """What a grid of times did to a stream of observations."""
    used = np.unique(chosen)
    age_ms = (grid - stamps[chosen]) / 1e6
    return {
        "observations": len(stamps),
        "frames": len(grid),
        "observed_hz": (len(stamps) - 1) * NS / int(stamps[-1] - stamps[0]),
        "observations_unused": len(stamps) - len(used),
        "frames_repeated": len(grid) - len(used),
        "age_ms_mean": float(age_ms.mean()),
        "age_ms_max": float(age_ms.max()),
    }


def _shuttle(seen: Sequence[Observation]) -> tuple[Array, NDArray[np.bool_]]:
    """Newest tracked position (N, 3), nan before the first, and whether there is one (N,)."""
    out, visible = np.full((len(seen), 3), np.nan), np.zeros(len(seen), dtype=bool)
    for k, o in enumerate(seen):
        measured = np.flatnonzero(o.tracker_mask)
        if len(measured):
            out[k], visible[k] = o.tracker_xyz_m[measured[-1]], True
    return out, visible


def _action(
    commands: list[tuple[int, JointTrajectory]], grid: NDArray[np.int64], seen: Sequence[Observation]
) -> tuple[Array, NDArray[np.bool_]]:
    """Commanded joint positions (N, J), and whether a command was in force (N,): without one, where the joints were."""
    out = np.array([o.q_rad for o in seen])
    commanded = np.zeros(len(grid), dtype=bool)
    for k, now_ns in enumerate(grid.tolist()):
        started = [c for sent_ns, c in commands if sent_ns <= now_ns and c.start_ns <= now_ns]
        if not started:
            continue
        c = started[-1]
        last_ns = c.start_ns + round((len(c.q_rad) - 1) * c.dt_s * NS)
        if now_ns <= min(c.start_ns + c.valid_ns, last_ns) and c.q_rad.shape[1] == out.shape[1]:
            out[k], commanded[k] = _commanded(c, now_ns), True
    return out, commanded


def _commanded(c: JointTrajectory, now_ns: int) -> Array:
    """Joint positions (J,) that a trajectory asks for, between its first and last sample."""
    x = (now_ns - c.start_ns) / (c.dt_s * NS)
    k = min(int(x), len(c.q_rad) - 1)
    after = min(k + 1, len(c.q_rad) - 1)
    q: Array = c.q_rad[k] + (x - k) * (c.q_rad[after] - c.q_rad[k])
    return q


def _starts(episodes: Sequence[Episode]) -> list[int]:
    """Index of each episode's first frame in the data set."""
    lengths = [len(e.columns["timestamp"]) for e in episodes]
    return [int(n) for n in np.cumsum([0, *lengths[:-1]])]


def _feature(name: str, column: NDArray[Any]) -> dict[str, Any]:
    """What info.json says of a column."""
    shape = list(column.shape[1:]) or [1]
    joints = shape[0] // (2 if name == "observation.state" else 1)
    names: list[str] | None = None
    if name in ("observation.state", "action"):
        names = [f"{part}_{j}" for part in ("q", "dq")[: shape[0] // joints] for j in range(joints)]
    elif name == "observation.shuttle":
        names = ["x_m", "y_m", "z_m"]
    return {"dtype": str(column.dtype), "shape": shape, "names": names}


def _width(feature: dict[str, Any]) -> tuple[int, ...]:
    return () if feature["shape"] == [1] else tuple(feature["shape"])


def _write_rows(path: Path, episodes: Sequence[Episode], features: dict[str, dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True)
    fields = [(name, _arrow(feature)) for name, feature in features.items()]
    schema = pa.schema(fields)
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for e in episodes:
            arrays = [_column(e.columns[name], kind) for name, kind in fields]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _arrow(feature: dict[str, Any]) -> Any:
    kind = pa.from_numpy_dtype(np.dtype(feature["dtype"]))
    return pa.list_(kind, feature["shape"][0]) if _width(feature) else kind


def _column(values: NDArray[Any], kind: Any) -> Any:
    if values.ndim == 1:
        return pa.array(values, type=kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), kind.list_size)


def statistics(column: NDArray[Any]) -> dict[str, list[Any]]:
    """min, max, mean, std and count of a column (N, ...); what is not finite is left out, all of it counts as 0."""
    values = np.atleast_2d(column.T).T.astype(np.float64)
    known = np.ma.masked_invalid(values)
    figures = {name: getattr(known, name)(axis=0).filled(0.0).tolist() for name in ("min", "max", "mean", "std")}
    return figures | {"count": [len(values)]}


def _film(folder: Path, episodes: Sequence[Episode], fps: int, render: Render) -> dict[str, Any]:
    """All episodes drawn into one file; what info.json says of it."""
    path = folder / f"videos/{VIDEO_KEY}/{_FIRST}.mp4"
    path.parent.mkdir(parents=True)
    with Film(path, fps) as film:
        for e in episodes:
            count, joints = e.columns["action"].shape
            q = e.columns["observation.state"][:, :joints].astype(np.float64)
            shown = render(np.arange(count) / fps, q, e.columns["observation.shuttle"].astype(np.float64))
            drawn = sum(1 for _ in map(film.add, shown))
            if drawn != count:
                raise DataError(f"{drawn} frames were drawn for an episode of {count}; allowed: one each")
    return film.feature


def _write_meta(
    folder: Path,
    episodes: Sequence[Episode],
    tasks: list[str],
    features: dict[str, dict[str, Any]],
    fps: int,
    robot: str,
    log: Log,
) -> None:
    columns = {name: np.concatenate([e.columns[name] for e in episodes]) for name in episodes[0].columns}
    has_video = VIDEO_KEY in features
    info = {
        "codebase_version": VERSION,
        "robot_type": robot or None,
        "total_episodes": len(episodes),
        "total_frames": len(columns["timestamp"]),
        "total_tasks": len(tasks),
        **_LIMITS,
        "fps": fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": f"data/{_FILE}.parquet",
        "video_path": f"videos/{{video_key}}/{_FILE}.mp4" if has_video else None,
        "features": features,
    }
    source = {"recording": log.path.name, "cut": log.cut, "frames_lost": log.lost, "versions": log.about.versions}
    resampling = {"fps": fps, **source, "episodes": [e.resampling for e in episodes]}
    where = folder / "meta"
    (where / "episodes/chunk-000").mkdir(parents=True)
    stats = {name: statistics(column) for name, column in columns.items()}
    for name, value in (("info", info), ("stats", stats), ("resampling", resampling)):
        (where / f"{name}.json").write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    pq.write_table(_task_table(tasks), where / "tasks.parquet")
    rows = [_episode_row(i, e, start, fps, has_video) for i, (e, start) in enumerate(zip(episodes, _starts(episodes)))]
    pq.write_table(pa.Table.from_pylist(rows), where / f"episodes/{_FIRST}.parquet")


def _episode_row(index: int, e: Episode, start: int, fps: int, has_video: bool) -> dict[str, Any]:
    count = len(e.columns["timestamp"])
    row: dict[str, Any] = {"episode_index": index, "tasks": [e.task], "length": count}
    row |= {"data/chunk_index": 0, "data/file_index": 0}
    row |= {"dataset_from_index": start, "dataset_to_index": start + count}
    if has_video:
        key = f"videos/{VIDEO_KEY}"
        row |= {f"{key}/chunk_index": 0, f"{key}/file_index": 0}
        row |= {f"{key}/from_timestamp": start / fps, f"{key}/to_timestamp": (start + count) / fps}
    for name, column in e.columns.items():
        row |= {f"stats/{name}/{figure}": value for figure, value in statistics(column).items()}
    return row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}


def _task_table(tasks: list[str]) -> Any:
    """Tasks as a pandas frame writes them: the text is its index."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    said = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in said
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.2.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
