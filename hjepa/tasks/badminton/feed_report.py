"""What the real feed is worth, measured from the shipped files: `python -m hjepa.tasks.badminton.feed_report OUT.md`.

Legend: N strokes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hjepa.tasks.badminton import classify, flight, reconstruct
from hjepa.tasks.badminton.court import in_singles
from hjepa.tasks.badminton.feeds import load_feed
from hjepa.tasks.badminton.shuttleset import REASON_NAMES
from hjepa.tasks.badminton.strokes import DEFECTS, SPLITS, TYPES, StrokeTable, load_strokes
from hjepa.types import Array

COMMAND = "python -m hjepa.tasks.badminton.feed_report docs/feeds.md"
_INTRO = """# Real feeds

Every number on this page is printed by

    {command}

from the files that ship in `hjepa/tasks/badminton/data`. They were built, in two minutes, by

    python -m hjepa.tasks.badminton.build_strokes SRC hjepa/tasks/badminton/data/strokes.npz
    python -m hjepa.tasks.badminton.classify

from ShuttleSet (arXiv 2306.04948) and ShuttleSet22 (arXiv 2306.15664), {matches} distinct matches, MIT licence (see
`data/NOTICE`). A real stroke gives floor points, types and video frames; heights are drawn by type, then the launch is
solved with the drag equation (L = {drag} m). "Flights" are simulated flights that meet those measurements, not
measured ones.
"""
_METHOD = """
Time error: flight time less the annotated time between the two hits (frames are 33 or 40 ms apart; up to two frames
are allowed). Moved: the point where the shuttle is met was pulled this far towards the net (0.6 m allowed). Re-flown:
the launch as it is stored, flown by the equation, passes the stored meeting point at this distance. As annotated:
time and points untouched. One hit: the flight ends within 1 cm of where the next one starts. Out: falls outside the
singles court if nobody hits it (players do hit such shuttles, but rarely: the annotated points alone would put
half of all clears out). A rally's last strokes are counted apart: they end on the floor, where annotated, and have no
second frame; their flight time is borrowed from a similar stroke.
"""


def feed_report(table: StrokeTable | None = None) -> str:
    """Markdown: how many strokes became flights and why not, residuals by type, feeds by split, classifier scores."""
    table = table or load_strokes()
    parts = [
        _INTRO.format(command=COMMAND, matches=len(table.match_names), drag=flight.L_NOMINAL_M),
        "## Strokes that became flights\n",
        _defects(table),
        "\n## Strokes that were hit back, by type\n",
        _residuals(table),
        _METHOD,
        "\n## Rallies' last strokes\n",
        _last(table),
        "\n## Feeds\n",
        _feeds(table),
        "\n## Shot-type classifier\n",
        _classifier(table),
    ]
    return "\n".join(parts)


def refly_miss(table: StrokeTable) -> Array:
    """Distance (N,) between the stored meeting point and the stored launch flown for time_s; nan without a flight."""
    miss = np.full(len(table.match), np.nan)
    rows = np.flatnonzero(table.valid)
    x, _ = flight.fly_to(table.hit_m[rows], table.launch_m_s[rows], table.time_s[rows])
    miss[rows] = np.linalg.norm(x - table.meet_m[rows], axis=-1)
    return miss


def _grid(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _middle(values: Array, digits: int = 1) -> str:
    """'median / p90' of finite values."""
    values = values[np.isfinite(values)]
    if not values.size:
        return "-"
    return " / ".join(f"{value:.{digits}f}" for value in np.percentile(values, (50, 90)))


def _defects(table: StrokeTable) -> str:
    count = np.bincount(table.defect, minlength=len(DEFECTS))
    named = ["physical flight", *DEFECTS[1:]]
    rows = [[name, str(n), f"{n / count.sum():.2%}"] for name, n in zip(named, count, strict=True)]
    tried = count[0] + count[DEFECTS.index("not physical")]
    rows.append(["all", str(count.sum()), "100 %"])
    return (
        _grid(["what became of it", "strokes", "share"], rows)
        + f"\n\nOf the {tried} strokes with all their measurements that crossed the net, {count[0] / tried:.2%} admit "
        "a physical flight: solved to a millimetre, over the tape by 2 cm, launch speed within the type's range."
    )


def _residuals(table: StrokeTable) -> str:
    miss = refly_miss(table)
    off = np.abs(table.time_s - table.gap_s)
    joint = np.full(len(miss), np.nan)
    joint[:-1] = np.linalg.norm(table.hit_m[1:] * reconstruct.TURN - table.meet_m[:-1], axis=-1)
    speed = np.linalg.norm(table.launch_m_s, axis=-1)
    tried = np.isin(table.defect, (0, DEFECTS.index("not physical"))) & ~table.last
    fell_in = in_singles(np.nan_to_num(table.floor_m), -1)
    same = (off < 2e-3) & (table.moved_m < 2e-3)
    rows = []
    for k, name in [*enumerate(TYPES), (None, "all")]:
        mine = tried if k is None else tried & (table.type == k)
        q = mine & table.valid
        rows.append(
            [
                name,
                str(int(mine.sum())),
                f"{q.sum() / mine.sum():.2%}",
                f"{same[q].mean():.0%}",
                _middle(off[q] * 1e3, 0),
                _middle(table.moved_m[q], 2),
                _middle(miss[q] * 1e3),
                f"{(joint[q] < 0.01).sum() / np.isfinite(joint[q]).sum():.1%}",
                _middle(speed[q]),
                _middle(table.time_s[q], 2),
                f"{1 - fell_in[q].mean():.0%}",
            ]
        )
    header = ["type", "strokes", "physical", "as annotated", "time error ms", "moved m", "re-flown mm", "one hit"]
    return (
        _grid([*header, "launch m/s", "flight s", "out"], rows) + "\n\nPairs of numbers are median / 90th percentile."
    )


def _last(table: StrokeTable) -> str:
    rows = []
    for k, name in enumerate(REASON_NAMES):
        q = table.last & (table.reason == k)
        rows.append([name, str(int(q.sum())), str(int((q & table.valid).sum())), f"{(table.won[q] == 1).mean():.0%}"])
    return _grid(["how it ended", "strokes", "physical flights", "hitter won the point"], rows)


def _feeds(table: StrokeTable) -> str:
    header = ["split", "matches", "strokes", "feeds", *TYPES]
    rows = []
    for split in SPLITS:
        feed = load_feed(split)
        by_type = np.bincount(feed.type, minlength=len(TYPES))
        matches = int((table.match_split == SPLITS.index(split)).sum())
        rows.append([split, str(matches), str(len(table.split_rows(split))), str(len(feed.id)), *map(str, by_type)])
    return _grid(header, rows) + (
        "\n\nA feed is a stroke with a physical flight and a known receiver that was hit back or fell in the singles "
        "court. Splits are by match; the CoachAI 2023 benchmark's five validation matches are in val."
    )


def _classifier(table: StrokeTable) -> str:
    rows = {split: classify.usable_rows(table, split) for split in SPLITS}
    features = {split: classify.table_features(table, row) for split, row in rows.items()}
    types = {split: table.type[row] for split, row in rows.items()}
    shipped = {s: classify.evaluate(classify.load_classifier(), features[s], types[s]) for s in SPLITS}
    tall = {s: np.concatenate([features[s], table.hit_m[rows[s], 2:]], axis=-1) for s in ("train", "test")}
    with_height = classify.evaluate(classify.train(tall["train"], types["train"]), tall["test"], types["test"])
    blind = blind_score(table)
    lines = [
        [f"shipped, {s}", str(r.strokes), f"{r.accuracy:.3f}", f"{r.macro:.3f}", _rally_macro(r)]
        for s, r in shipped.items()
    ]
    for name, r in (("and the hit height, test", with_height), ("heights drawn without knowing the type, test", blind)):
        lines.append([name, str(r.strokes), f"{r.accuracy:.3f}", f"{r.macro:.3f}", _rally_macro(r)])
    confusion = [
        [name, *(str(n) for n in row), f"{recall:.3f}"]
        for name, row, recall in zip(TYPES, shipped["test"].confusion, shipped["test"].recall, strict=True)
    ]
    return (
        _grid(["classifier", "strokes", "accuracy", "macro-average", "macro without services"], lines)
        + "\n\nThe last row is the check against circularity: hit heights, and so launch speeds and angles, were drawn "
        "by type, which a classifier could read back. There, heights of train and test strokes were drawn again "
        "from the annotated above or below the net alone, the flights solved again and the classifier trained again.\n"
        + "\nTest matches, shipped classifier: true type (row) by named type (column).\n\n"
        + _grid(["true", *TYPES, "recall"], confusion)
    )


def _rally_macro(score: classify.Score) -> str:
    """Mean recall without the two services, which having no incoming flight gives away."""
    return f"{np.nanmean(score.recall[2:]):.3f}"


def blind_score(table: StrokeTable, seed: int = 0) -> classify.Score:
    """Test score of a classifier trained and tested on flights whose heights were drawn without knowing any type."""
    rng = np.random.default_rng(seed)
    n = len(table.match)
    above = table.above_net == 1
    mean, spread = np.where(above, 2.2, 1.05), np.where(above, 0.35, 0.30)
    low, high = np.where(above, 1.42, 0.2), np.where(above, 3.0, 1.62)
    z = np.clip(mean + spread * rng.normal(size=n), low, high)
    rows = np.flatnonzero(table.valid & ~table.last)
    start, end = table.hit_m[rows].copy(), table.meet_m[rows].copy()
    start[:, 2], end[:, 2] = z[rows], z[rows + 1]
    launch, miss = flight.solve_launch(start, end, table.time_s[rows])
    fine = (miss < 1e-3) & (np.linalg.norm(launch, axis=-1) < 130.0)
    hit, meet, speed = table.hit_m.copy(), table.meet_m.copy(), table.launch_m_s.copy()
    hit[rows], meet[rows], speed[rows] = start, end, launch
    defect = np.full(n, DEFECTS.index("not physical"), dtype=np.int8)
    defect[rows[fine]] = 0
    drawn = table._replace(hit_m=hit, meet_m=meet, launch_m_s=speed, defect=defect)
    pick: dict[str, NDArray[np.int64]] = {s: classify.usable_rows(drawn, s) for s in ("train", "test")}
    model = classify.train(classify.table_features(drawn, pick["train"]), drawn.type[pick["train"]])
    return classify.evaluate(model, classify.table_features(drawn, pick["test"]), drawn.type[pick["test"]])


def main(arguments: list[str] | None = None) -> None:
    """Write the report."""
    parser = argparse.ArgumentParser(prog="python -m hjepa.tasks.badminton.feed_report", description=__doc__)
    parser.add_argument("out", type=Path, help="Markdown file to write, e.g. docs/feeds.md")
    parser.parse_args(arguments).out.write_text(feed_report() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
