"""Rallies and games by the laws, with players that do as they are told; no physics here."""

from __future__ import annotations

import numpy as np
import pytest

from hjepa import config, sides
from hjepa import matches as m
from hjepa.errors import DataError
from hjepa.tasks.badminton.opponents import HumanLimits, Opponent, Shot
from hjepa.tasks.badminton.rallies import read_strokes_csv, write_strokes
from hjepa.tasks.badminton.returns import LaunchTable
from hjepa.tasks.badminton.strokes import TYPES
from hjepa.types import Decision, Outcome

TABLE = LaunchTable()


def shot(
    target: tuple[float, float], start: tuple[float, float, float] = (-3.0, 0.0, 1.0), elevation: float = 45.0
) -> Shot:
    x = np.array([start])
    return Shot(x[0], TABLE.launch(x, np.array([target]), np.radians([elevation]))[0], 7)


class Told:
    """Answers with the shots that it was given, then misses."""

    name = "told"

    def __init__(self, shots: list[Shot | str]) -> None:
        self.shots, self.seen, self.waited, self.met_m = list(shots), [], [], []
        self.knew: list[int] = []  # strokes of which it knew where they were met, whenever it was told to wait
        self._feet = np.zeros(2)

    def begin(self, feet_m, seed) -> None:
        self._feet = feet_m

    def receive(self, coming, other_m, now_s) -> sides.Struck:
        assert coming.v_m_s[0] < 0  # towards this player, in its own frame
        assert other_m[0] > 0 > self._feet[0]
        if not self.shots:
            return sides.Struck(float("nan"), None, self._feet, "missed")
        nxt = self.shots.pop(0)
        if isinstance(nxt, str):
            return sides.Struck(float("nan"), None, self._feet, nxt)
        return sides.Struck(0.9, nxt, self._feet)

    def wait(self, time_s) -> None:
        self.waited.append(time_s)
        self.knew.append(len(self.met_m))

    def feet(self):
        return self._feet

    def saw(self, seen) -> None:
        self.seen.append(seen)

    def met(self, hit_m) -> None:
        self.met_m.append(hit_m)


def test_a_shuttle_that_nobody_reaches_wins_the_rally() -> None:
    a, b = Told([]), Told([shot((4.0, 1.0))])
    rally = m.play_rally((a, b), 0, "val", 3)
    assert (rally.length, rally.winner, rally.why) == (2, 1, "winner")
    assert [s.side for s in rally.strokes] == [0, 1]
    np.testing.assert_allclose(rally.strokes[1].land_m, [-4.0, -1.0], atol=0.1)  # where it fell, hitter's frame
    assert a.waited == [0.9] and b.waited == []  # the server waits for the answer
    assert rally.strokes[1].since_s == 0.9 and rally.strokes[1].at_s == 0.9


def test_out_is_the_hitters_loss_if_it_is_let_go() -> None:
    rally = m.play_rally((Told([]), Told([shot((7.4, 0.0))])), 0, "val", 3)
    assert (rally.winner, rally.why) == (0, "out")


def test_the_net_is_the_hitters_loss() -> None:
    low = Shot(np.array([-3.0, 0.0, 0.5]), np.array([12.0, 0.0, 0.0]), 6)
    rally = m.play_rally((Told([]), Told([low])), 0, "val", 3)
    assert (rally.length, rally.winner, rally.why) == (2, 0, "net")


def test_an_error_is_the_other_sides_point() -> None:
    rally = m.play_rally((Told(["error"]), Told([shot((4.0, 0.0))])), 0, "val", 3)
    assert (rally.winner, rally.why) == (1, "error")


def test_both_players_see_every_stroke_and_where_it_was_met() -> None:
    a = Told([shot((4.0, 0.0), (-2.5, 0.7, 1.2))])
    b = Told([shot((4.0, 1.0)), shot((5.0, -1.0))])
    rally = m.play_rally((a, b), 0, "val", 3)
    assert rally.length == 4
    assert len(a.seen) == len(b.seen) == 4
    np.testing.assert_allclose(rally.strokes[1].land_m, [-2.5, 0.7])  # met there, in its hitter's canonical frame
    np.testing.assert_allclose(a.met_m[1], [-2.5, 0.7, 1.2])
    assert (a.knew, b.knew) == ([0, 2], [1])  # whoever waits does not know yet where the last one will be met
    for s in rally.strokes:
        assert s.hitter_m[0] > 0 > s.receiver_m[0] and s.hit_m[0] > 0


def test_a_far_rally_ends_undecided() -> None:
    endless = [shot((4.0, 0.5))] * 20
    rally = m.play_rally((Told(endless), Told(endless)), 0, "val", 3, longest=20)
    assert (rally.length, rally.winner, rally.why) == (20, -1, "too long")


@pytest.mark.parametrize(
    ("points", "done"), [((21, 19), True), ((21, 20), False), ((22, 20), True), ((29, 29), False), ((30, 29), True)]
)
def test_a_game_is_won_two_clear_or_at_thirty(points: tuple[int, int], done: bool) -> None:
    assert m.over(points) is done and m.over(points[::-1]) is done


def test_who_wins_a_rally_serves_the_next() -> None:
    servers = []

    def told(score, rally) -> None:
        servers.append((rally.server, rally.winner))

    a, b = Told([shot((4.0, 1.0))] * 100), Told([])
    score = m.play_match((a, b), points=3, split="val", told=told)
    assert score.points[0] == 3 or score.points[1] == 3
    for (_, winner), (server, _) in zip(servers, servers[1:], strict=False):
        assert server == winner


def test_played_strokes_survive_a_file(tmp_path) -> None:
    a, b = Told([shot((4.0, 0.0), (-2.5, 0.7, 1.2))]), Told([shot((4.0, 1.0)), shot((5.0, -1.0))])
    rallies = m.as_rallies([m.play_rally((a, b), 0, "val", 3), m.play_rally((Told([]), Told([])), 1, "val", 4)])
    write_strokes(tmp_path / "strokes.csv", rallies)
    again = read_strokes_csv(tmp_path / "strokes.csv")
    for name in ("rally", "shot", "length", "type", "side", "won"):
        np.testing.assert_array_equal(getattr(again, name), getattr(rallies, name), err_msg=name)
    np.testing.assert_allclose(again.land_m, rallies.land_m, atol=1e-4)
    assert rallies.won.tolist()[:4] == [-1, 1, -1, 1]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("type", "kind", "line 1: no column 'type'"),
        ("service", "serve", "line 2, column 'type'"),
        (",0,1,", ",0,x,", "line 2, column 'length': 'x'"),
        ("0,0,1", "0,3,1", "count 0, 1, 2"),
    ],
)
def test_a_bad_stroke_file_is_told_by_line(tmp_path, old: str, new: str, said: str) -> None:
    path = tmp_path / "strokes.csv"
    write_strokes(path, m.as_rallies([m.play_rally((Told([]), Told([])), 1, "val", 4)]))
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_strokes_csv(path)
    assert said in str(caught.value)


def test_an_opponent_foretells_what_it_then_does_and_stays_as_it_is() -> None:
    a, b = (sides.HumanSide(Opponent("human", "val")) for _ in range(2))
    for side in (a, b):
        side.begin(np.array([-3.2, 0.3]), 5)
    coming = sides.turned_shot(shot((4.6, 0.4)))
    before = a.feet().copy()
    told = [a.foretell(coming, np.array([3.0, 0.0])) for _ in range(2)]
    np.testing.assert_array_equal(a.feet(), before)
    b.wait(sides.SERVED_S)
    true = b.receive(coming, np.array([3.0, 0.0]), 0.0)
    for guess in told:
        assert guess.shot is not None and true.shot is not None
        np.testing.assert_array_equal(guess.shot.v_m_s, true.shot.v_m_s)
        assert guess.time_s == true.time_s


def test_the_robots_ideal_shots_are_answered_in_its_own_frame() -> None:
    them = sides.HumanSide(Opponent("human", "val"))
    them.begin(np.array([-3.2, 0.0]), 5)
    told = m.foretold(them)(7, np.array([-2.0, 0.0, 1.0]), np.array([4.6, 0.4]), 1.5, np.array([-2.5, 0.0]))
    assert not told.lost and told.land_m[0] < 0.0 and 0.3 < told.time_s < 1.5 and 0.2 < told.tempo_s < 2.5
    slow = sides.HumanSide(Opponent("human", "val", HumanLimits(speed_m_s=0.5, reach_m=0.3)))
    slow.begin(np.array([-0.5, 2.5]), 5)
    far = m.foretold(slow)(7, np.array([-2.0, 0.0, 1.0]), np.array([6.3, -2.2]), 0.8, np.array([-2.5, 0.0]))
    assert far.lost


class Swinger:
    """An agent that the side asks for the name of its stroke."""

    def __init__(self, kind: str | None) -> None:
        self.decision = None if kind is None else Decision(None, kind, None, 0.0, 0.0, 1)

    def reset(self, seed: int = 0) -> None: ...

    def act(self, observation) -> None: ...


@pytest.mark.parametrize(("kind", "named"), [("push/rush", "push/rush"), ("unknown", "lob"), (None, "lob")])
def test_a_stroke_is_named_as_it_was_meant_else_by_its_flight(kind: str | None, named: str) -> None:
    side = sides.RobotSide(config.load("badminton", []), Swinger(kind), "swinger")
    try:
        drop, lob = sides.turned_shot(shot((2.0, 0.0), (-3.5, 0.0, 2.0), 5.0)), shot((6.0, 0.0), (-1.6, 0.0, 0.6), 55.0)
        hit = Outcome(
            True, 0.75, np.zeros(2), lob.x_m, np.zeros(3), lob.v_m_s, 9.0, np.zeros(2), 2.0, 3.0, True, "", 1.0
        )
        assert TYPES[side._named(drop, hit)] == named
        np.testing.assert_array_equal(side._place(), side.spec.q_home_rad[:2])
    finally:
        side.close()
