"""The tactician: what its chances of winning are made of, with a rally level and covers that are known in full."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from hjepa import build, config
from hjepa.planning.anticipation import Anticipation, AnticipationConfig
from hjepa.planning.hierarchy import Candidates
from hjepa.planning.tactics import Seen, Tactician, TacticsConfig
from hjepa.planning.told import Told, ToldTactician
from hjepa.types import Array
from robots.spec import load_spec

FEET = np.array([-3.0, 0.0])


class Coin:
    """Rallies end by themselves with a chance of a tenth, for either; every reply is a drop to the same place."""

    def __init__(self, land: tuple[float, float] = (-1.5, 0.0)) -> None:
        self.land = land

    def state(self, history: list[Seen]) -> torch.Tensor:
        return torch.zeros(1, 4)

    def after(self, s: torch.Tensor, kind: torch.Tensor, land: torch.Tensor, tempo: torch.Tensor) -> torch.Tensor:
        return s

    def reply(self, s: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        n = len(s)
        return torch.full((n,), 4), torch.tensor([self.land]).expand(n, -1), torch.full((n,), 0.8)

    def outlook(self, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full((len(s),), 0.1), torch.full((len(s),), 0.5)


def near(base: Any, speed: Any, kind: Any, land: Any, tempo: Any) -> torch.Tensor:
    """Two metres are covered."""
    out: torch.Tensor = 8.0 * (2.0 - (land - base).norm(dim=-1))
    return out


def never(kind: torch.Tensor, target: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    return torch.full((len(kind),), -20.0)


def hard(kind: torch.Tensor, target: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    return reach - 10.0


def shots(places: list[tuple[float, float]]) -> Candidates:
    """Clears to places in the robot's canonical frame (x < 0), alike in all else."""
    n = len(places)
    macro = np.concatenate([np.full((n, 1), 3.0), np.array(places), np.full((n, 1), 1.2)], axis=1)
    half = np.full(n, 0.5)
    types = ("clear",) * n
    return Candidates(
        np.zeros((n, 16)), np.zeros((n, 16, 16)), macro, types, -macro[:, 1:3], np.zeros(n), half, half, half,
        np.arange(n),
    )  # fmt: skip


@pytest.fixture(scope="module")
def made() -> Tactician:
    return build.build_tactician(config.load("badminton", []), load_spec("courtbot"), TacticsConfig())


def told(
    made: Tactician, tactics: TacticsConfig, play: Any = None, errs: Any = never, hitter: Array = -FEET
) -> Tactician:
    made.tactics, made.play, made.errs = tactics, play or Coin(), errs
    made.anticipation = Anticipation(near, AnticipationConfig())
    made._coarse = made.anticipation
    made.begin_rally()
    made.saw(Seen(3, np.array([-3.0, 0.0]), np.asarray(hitter), FEET, 0.0))
    return made


def test_against_a_robot_the_uncovered_corner_wins(made: Tactician) -> None:
    t = told(made, TacticsConfig(robot=True))
    chances = t.chances(shots([(-3.2, 0.0), (-6.2, 2.2)]), FEET)
    assert chances[1] > chances[0] + 0.3


def test_a_robot_replies_with_what_it_can_play(made: Tactician) -> None:
    class Both(Coin):
        def reply(self, s: torch.Tensor, generator: torch.Generator) -> Any:
            n = len(s)
            kind = torch.where(torch.arange(n) % 2 == 0, 4, 5)  # drops near the net, smashes far behind
            land = torch.stack([torch.where(kind == 4, -1.5, -5.5), torch.zeros(n)], dim=-1)
            return kind, land, torch.full((n,), 0.8)

    drawn = told(made, TacticsConfig(robot=True), Both())._replies(torch.zeros(40, 4), 20, torch.Generator())
    assert drawn.type.tolist() == [4] * 40 and torch.allclose(drawn.land_m[:, 0], torch.tensor(-1.5))


def test_together_the_covered_middle_keeps_the_rally_going(made: Tactician) -> None:
    t = told(made, TacticsConfig(robot=True, cooperative=True))
    chances = t.chances(shots([(-3.2, 0.0), (-6.2, 2.2)]), FEET)
    assert chances[0] > 0.9 > 0.3 > chances[1]


def test_against_people_rallies_end_as_real_ones_do(made: Tactician) -> None:
    t = told(made, TacticsConfig())
    chances = t.chances(shots([(-3.2, 0.0), (-6.2, 2.2)]), FEET)
    np.testing.assert_allclose(chances, 0.1 * 0.5 + 0.9 * 0.5, atol=0.02)  # all replies are covered


def test_replies_out_of_reach_count_unless_the_hierarchy_is_one_way(made: Tactician) -> None:
    far = Coin(land=(-1.0, 9.0))
    lost = told(made, TacticsConfig(), far).chances(shots([(-3.2, 0.0)]), FEET)
    blind = told(made, TacticsConfig(covers=False), far).chances(shots([(-3.2, 0.0)]), FEET)
    assert lost[0] < 0.06 and blind[0] == pytest.approx(0.5, abs=1e-6)


def test_a_shot_that_goes_wrong_wins_nothing(made: Tactician) -> None:
    t = told(made, TacticsConfig(), errs=hard)
    found = shots([(-3.2, 0.0), (-3.3, 0.0)])._replace(codes=np.array([5, 5]))
    easy, wild = t.energies(found, np.array([0.0, 20.0])) - np.array([0.0, t.config.reach * 20.0])
    assert wild > easy + 5.0


def test_in_a_one_way_hierarchy_nothing_goes_wrong(made: Tactician) -> None:
    t = told(made, TacticsConfig(covers=False), errs=hard)
    found = shots([(-3.2, 0.0), (-3.3, 0.0)])._replace(codes=np.array([5, 5]))
    easy, wild = t.energies(found, np.array([0.0, 20.0])) - np.array([0.0, t.config.reach * 20.0])
    assert wild == pytest.approx(easy)


class Asked:
    """Shots further than 5 m are lost; the answers to others fall 9 m to the side, or at the robot's feet."""

    def __init__(self, away: bool) -> None:
        self.away, self.shots = away, []

    def __call__(self, kind: int, hit_m: Array, target_m: Array, floor_s: float, feet_m: Array) -> Told:
        self.shots.append((kind, *hit_m, *target_m, floor_s))
        return Told(bool(target_m[0] > 5.0), 0.9, 4, np.array([-3.0, 9.0 if self.away else 0.0]), 0.8)


@pytest.mark.parametrize(("away", "chance"), [(False, 0.5), (True, 0.0)])
def test_who_is_told_the_answer_knows_what_wins_at_once_and_what_is_covered(away: bool, chance: float) -> None:
    ask = Asked(away)
    t = build.build_tactician(config.load("badminton", []), load_spec("courtbot"), TacticsConfig(), ask)
    assert isinstance(t, ToldTactician)
    chances = told(t, TacticsConfig()).chances(shots([(-3.2, 0.5), (-6.2, 2.2)]), FEET)
    np.testing.assert_allclose(chances, [chance, 1.0], atol=0.02)
    short = np.array([s for s in ask.shots if s[4] < 5.0])
    assert len(short) == t.tries and (short[:, 0] == 3).all() and len(ask.shots) == 2 * t.tries
    np.testing.assert_allclose(short[:, 4:].mean(axis=0), [3.2, -0.5, 1.2], atol=0.2)  # as it may come out
    assert len(np.unique(short[:, 4])) == t.tries
    assert (short[:, 1] < 0.5).all()  # hit in the robot's half: the world frame


def test_who_is_told_asks_about_the_cheapest_shots_alone() -> None:
    ask = Asked(False)
    c = config.load("badminton", ["high.shortlist=2", "high.weights.mixing=0", "high.weights.reach=0"])
    t = told(build.build_tactician(c, load_spec("courtbot"), TacticsConfig(), ask), TacticsConfig())
    found = shots([(-3.2, 0.5), (-6.2, 2.2), (-3.0, 0.0)])._replace(log_prior=np.array([-9.0, 0.0, 0.0]))
    chances = t.chances(found, FEET)
    assert chances[0] == 0.0 and chances[1] == pytest.approx(1.0) and chances[2] > 0.4
    assert len(ask.shots) == 2 * t.tries


def test_without_a_rally_it_is_the_plain_high_level(made: Tactician) -> None:
    t = told(made, TacticsConfig(), errs=hard)
    t.begin_rally()
    found = shots([(-3.2, 0.0)])
    plain = super(Tactician, t).energies(found, np.array([20.0]))
    np.testing.assert_array_equal(t.energies(found, np.array([20.0])), plain)
