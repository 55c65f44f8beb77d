"""hjepa match: a robot plays points by the BWF laws, against an opponent with human limits or a second robot."""

from __future__ import annotations

import json as json_format
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from hjepa.cli import files, options, quick
from hjepa.config import Config
from hjepa.errors import ConfigError, DataError

if TYPE_CHECKING:
    from hjepa.matches import Rally
    from hjepa.sides import Side


class OpponentName(StrEnum):
    random = "random"
    markov = "markov"
    human = "human"
    greedy = "greedy"
    self = "self"


class HighName(StrEnum):
    """What is above the low level."""

    hjepa = "hjepa"
    plain = "plain"
    random = "random"


LEVELS = {HighName.hjepa: 3, HighName.plain: 2, HighName.random: 2}


def match(
    opponent: Annotated[
        OpponentName,
        typer.Option(
            "--opponent",
            help="human: what real players did in the most alike situations. markov: the types that follow in real "
            "rallies. greedy: far from the robot. random: anything. self: a second robot. Limits are human.",
        ),
    ] = OpponentName.human,
    points: Annotated[
        int, typer.Option("--points", min=1, max=99, help="Points of a game; two clear, nine more at most.")
    ] = 21,
    games: Annotated[int, typer.Option("--games", min=1)] = 1,
    high: Annotated[
        HighName | None,
        typer.Option(
            "--high",
            help="hjepa: plans over the rally. plain: over the stroke alone. random: any shot. Else as levels.count "
            "says: 3, or 2; without --set, 3.",
        ),
    ] = None,
    other_high: Annotated[
        HighName, typer.Option("--other-high", help="Of the second robot (--opponent self).")
    ] = HighName.hjepa,
    cooperative: Annotated[
        bool, typer.Option("--cooperative", help="Robots keep the rally going instead of winning it.")
    ] = False,
    config: Annotated[str, typer.Option("--config", metavar="CONFIG")] = "badminton",
    small: quick.Quick = False,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where results go.")] = Path("runs/match"),
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write match.mp4, of the longest rally.")] = True,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Play games; writes strokes.csv (which `hjepa train rally --from` learns from), shots.png, match.json and a film.

    Services are real ones; who wins a rally serves. The robot's strokes are full physics.

    Example: `hjepa match --opponent self --points 5 --out runs/match`
    """
    files.check_folder(out)
    levels = f"levels.count={LEVELS[high or HighName.hjepa]}"
    settings = options.settings(config, options.changes(sets), [levels, *(set_files or [])])
    high = high or _high(settings.levels.count)
    if LEVELS[high] != settings.levels.count:
        raise ConfigError(f"--high {high.value} has {LEVELS[high]} levels, levels.count is {settings.levels.count}")
    from hjepa import build, matches, sides
    from hjepa.tasks.badminton.opponents import Opponent

    build.use_one_thread()
    console = Console()
    robots = opponent is OpponentName.self
    us = matches.robot(settings, high.value, cooperative=cooperative, against_robot=robots)
    them: Side
    if opponent is OpponentName.self:
        them = matches.robot(settings, other_high.value, "robot 2", cooperative, against_robot=True)
    else:
        if other_high is not HighName.hjepa:
            raise DataError("--other-high: allowed with --opponent self")
        them = sides.HumanSide(Opponent(opponent.value))
    scores = []

    def told(score: tuple[int, int], rally: Rally) -> None:
        who = ("-", "hjepa", them.name)[rally.winner + 1]
        console.print(
            f"{score[0]:2d} : {score[1]:2d}   {rally.length:3d} strokes, {who} ({rally.why})", highlight=False
        )

    few: dict[str, Any] = {"most": 1, "longest": quick.RALLY} if small else {}
    for game in range(1 if small else games):
        played = matches.play_match((us, them), points=points, seed=seed + game, told=told, **few)
        scores.append(played)
        console.print(f"game {game + 1}: {played.points[0]} : {played.points[1]}")
    rallies = [rally for score in scores for rally in score.rallies]
    _write(out, rallies, [score.points for score in scores], video, console, us.spec, settings)


def _high(levels: int) -> HighName:
    if levels == 1:
        raise ConfigError(
            "levels.count is 1: a rally is played with 2 (the stroke alone) or 3 levels (the rally as well)"
        )
    return HighName.hjepa if levels == 3 else HighName.plain


def _write(
    out: Path,
    rallies: list[Rally],
    points: list[tuple[int, int]],
    video: bool,
    console: Console,
    spec: Any,
    settings: Config,
) -> None:
    import numpy as np

    from hjepa import matches
    from hjepa.evaluation.metrics import wilson
    from hjepa.tasks.badminton.rallies import write_strokes
    from hjepa.viewer import plots

    lengths = np.array([rally.length for rally in rallies])
    decided = [rally for rally in rallies if rally.winner >= 0]
    won = sum(rally.winner == 0 for rally in decided)
    share = wilson(won, len(decided))
    reasons = {name: sum(r.why == name for r in rallies) for name in sorted({r.why for r in rallies})}
    figures = {
        "points": points, "rallies": len(rallies), "won": won, "won_share": share.value if decided else None,
        "won_low": share.lo, "won_high": share.hi, "length_median": float(np.median(lengths)),
        "length_mean": float(lengths.mean()), "length_max": int(lengths.max()), "ends": reasons,
    }  # fmt: skip
    with files.whole(out) as part:
        write_strokes(part / "strokes.csv", matches.as_rallies(rallies))
        plots.shots(part / "shots.png", [[(s.side, s.type, s.land_m) for s in rally.strokes] for rally in rallies])
        (part / "match.json").write_text(json_format.dumps(figures, indent=1), encoding="utf-8")
        files.write_config(part, settings)
        if video:
            from hjepa.viewer import rally_film

            longest = max(rallies, key=lambda rally: min(rally.length, 40))
            rally_film.write(part / "match.mp4", matches.scenes(longest, spec))
    percent = "{:.0f} % ({:.0f} to {:.0f})".format(*(100 * x for x in (share.value, share.lo, share.hi)))
    percent = percent if decided else "none decided"
    lengths_said = f"{np.median(lengths):g} median, {lengths.mean():.1f} mean, {lengths.max()} at most"
    console.print(f"rallies won {won} of {len(decided)}, {percent}; length {lengths_said}", highlight=False)
    console.print(f"written: {out}/strokes.csv, shots.png, match.json" + (", match.mp4" if video else ""))
