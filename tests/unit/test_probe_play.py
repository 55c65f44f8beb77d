"""hjepa probe play and demo --surprise: what is counted, kept and said. pytest tests/unit/test_probe_play.py."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from hjepa.build import react_config
from hjepa.bus.topics import Status
from hjepa.bus.watch import Seen
from hjepa.cli import surprised
from hjepa.config import load
from hjepa.evaluation.results import Played, Recording, StrokeResult
from hjepa.insight.sense import play
from hjepa.insight.sense.parts import Rows
from hjepa.insight.sense.play_strokes import CASES, NORMAL, Case, Kept, Row, _Watch
from hjepa.planning.reacting import ReactConfig
from hjepa.types import GRADES, NS, Alarm, Sensed
from hjepa.viewer import hud, paint
from hjepa.viewer.live.frames import Reducer
from hjepa.viewer.live.panel import _alarm
from hjepa.viewer.scene import scene_of
from robots.sim.disturbance import Disturbance
from tests import tiny
from tests.unit.test_view_frames import told as hear

NAN = math.nan


def row(case=NORMAL, stroke="1", reacting=False, at_s=NAN, **changes):
    """A stroke that was returned in a second, calmly."""
    usual = Row(case, stroke, "7", reacting, at_s, 0.4, True, True, 0.8, 2.0, 100.0, False, False, 1.0, ())
    return usual._replace(**changes)


def pair(off, **changes):
    return off, off._replace(reacting=True, **changes)


def test_a_false_alarm_counts_for_every_grade_up_to_its_own_once_a_stroke() -> None:
    rows = [pair(row(stroke=str(k))) for k in range(28)]
    rows += [pair(row(stroke="a"), rises=((0.4, 1),)), pair(row(stroke="b"), rises=((0.4, 1), (0.5, 3), (0.7, 4)))]
    rows += [pair(row(CASES[0].name, at_s=0.5), rises=((0.6, 1),))]
    figures = play.told(rows, "test").figures["normal"]
    assert figures["minutes"] == pytest.approx(1.0)  # 30 strokes of 2 s
    alarms = {grade: f["value"] for grade, f in figures["false_alarms_per_min"].items()}
    assert alarms == pytest.approx({"re-plan": 2.0, "mode 1": 1.0, "abandon": 1.0, "hold": 1.0})
    assert figures["alarmed_strokes"] == 2


def test_what_was_raised_before_anything_went_wrong_is_no_detection() -> None:
    assert row(at_s=0.5, rises=((0.4, 1), (0.58, 2))).noticed() == pytest.approx(0.08)
    assert math.isnan(row(at_s=0.5, rises=((0.4, 1),)).noticed())


def test_what_reacting_saves_is_counted_in_pairs() -> None:
    case = CASES[0].name
    wrong = [row(case, str(k), at_s=0.5, returned=k < 2, blind=k > 5, score=9.0) for k in range(10)]
    rows = [pair(row())] + [
        pair(w, returned=k < 6, blind=False, effort_j=80.0, rises=((0.6, 1),)) for k, w in enumerate(wrong)
    ]
    found = play.told(rows, "test")
    f = found.figures["cases"][case]
    assert (f["returned"]["off"]["count"], f["returned"]["on"]["count"]) == (2, 6)
    assert f["returned"]["difference"]["value"] == pytest.approx(0.4)
    assert 0.0 < f["returned"]["difference"]["lo"] <= 0.4 <= f["returned"]["difference"]["hi"] < 0.8
    assert (f["unsafe"]["off"]["count"], f["unsafe"]["on"]["count"]) == (4, 0)
    assert f["effort_j"]["difference"]["value"] == pytest.approx(-20.0)
    assert f["detected"]["value"] == 1.0
    assert f["time_to_detection_s"]["median"] == pytest.approx(0.1)
    assert f["false_alarms_per_min_at_95_recall"]["count"] == 0
    assert json.loads(json.dumps(found.figures, allow_nan=False))
    assert [len(line) for line in found.tables[1].rows] == [len(found.tables[1].columns)]


def test_a_threshold_that_finds_what_is_wrong_and_normal_strokes_above_it_are_false_alarms() -> None:
    case = CASES[1].name
    rows = [pair(row(stroke=str(k), score=float(k))) for k in range(30)]
    rows += [pair(row(case, str(k), at_s=0.5, score=28.0)) for k in range(20)]
    f = play.told(rows, "test").figures["cases"][case]
    assert f["false_alarms_per_min_at_95_recall"]["count"] == 2  # 28 and 29
    assert f["time_to_detection_s"]["median"] is None


def test_kept_rows_come_back(tmp_path) -> None:
    mine = Kept(Rows(tmp_path / "rows.jsonl")).keep(row(at_s=NAN, rises=((0.4, 1),)))
    again = Kept(Rows(tmp_path / "rows.jsonl"))
    found = again.get(NORMAL, "1", False)
    assert found._replace(at_s=0.0) == mine._replace(at_s=0.0) and math.isnan(found.at_s)
    assert again.get(NORMAL, "1", True) is None


class Court:
    """A world whose racket stays at the origin."""

    def __init__(self, share, away_m):
        self.spec, self.share, self.away_m = tiny.SPEC, share, away_m

    def joints(self):
        return SimpleNamespace(dq_rad_s=self.share * self.spec.dq_max_rad_s)

    def racket(self):
        return (np.eye(4),)

    def shuttle(self):
        return np.array([self.away_m, 0.0, 0.0]), np.zeros(3)


@pytest.mark.parametrize(("share", "away_m", "blind"), [(0.6, 0.6, True), (0.4, 0.6, False), (0.6, 0.4, False)])
def test_a_blind_swing_is_fast_and_far_from_the_shuttle_at_the_planned_contact(share, away_m, blind) -> None:
    watch = _Watch(Court(share, away_m), NAN)
    low = SimpleNamespace(committed=SimpleNamespace(event_ns=20 * NS // 100), sensed=lambda: None)
    watch.looked(low)
    for tick in range(1, 20):
        watch.ticked(tick)
    assert not watch.blind
    watch.looked(SimpleNamespace(committed=None, sensed=lambda: None))  # given up: its contact still counts
    watch.ticked(20)
    assert watch.blind == blind


def test_a_case_is_a_disturbance_of_that_amount() -> None:
    assert Case("teleport", 1.0).at(0.5, 3).amount == pytest.approx(1.0)
    assert [case.at(0.4, 0).kind for case in CASES] == [case.kind for case in CASES]


# told to people

ALARMS = tuple(
    Alarm(Sensed(round(t * NS), 5.0, p, "flight"), grade)
    for t, p, grade in ((0.4, 0.5, 0), (0.58, 0.001, 1), (0.7, 0.9, 1))
)


def recorded(alarms=ALARMS):
    times = np.array([0.0, 1.0])
    recording = Recording(times, np.tile(tiny.SPEC.q_home_rad, (2, 1)), np.ones((2, 3)), alarms)
    return Played(StrokeResult(id="1"), recording)


def test_the_demo_says_when_it_was_noticed_and_what_was_done() -> None:
    jump = Disturbance("teleport", 0.5, 20.0)
    assert surprised.line(jump, recorded()) == ("teleport 0.6 m at 0.50 s", "80 ms after", "re-plan")
    assert surprised.line(jump, recorded(ALARMS[:1])) == ("teleport 0.6 m at 0.50 s", "no", "played on")
    assert surprised.line(None, recorded()) == ("-", "false alarm", "re-plan")
    assert surprised.line(None, recorded(())) == ("-", "-", "played on")


def test_every_other_stroke_of_the_demo_is_left_alone() -> None:
    tricks = surprised.tricks(5, 3)
    assert [trick is None for trick in tricks] == [True, False, True, False, True]
    assert tricks == surprised.tricks(5, 3) != surprised.tricks(5, 4)
    assert all(surprised.JUMP_M[0] <= t.amount <= surprised.JUMP_M[1] + 0.01 for t in tricks if t)


def test_the_film_shows_the_latest_look_and_when_it_was_first_surprising() -> None:
    scene = scene_of(tiny.SPEC, *recorded())
    assert scene.alarm(0.3) is None
    assert scene.alarm(0.5) == ALARMS[0]
    assert scene.alarm(0.6) == ALARMS[1] == scene.alarm(0.75), "long enough to be seen"
    assert scene.alarm(2.0) == ALARMS[2]
    assert scene.alarmed_s == pytest.approx(0.58)
    assert scene_of(tiny.SPEC, *recorded(())).alarmed_s == math.inf


def test_the_rarer_the_longer_the_bar() -> None:
    def coloured(p):
        panel = np.asarray(hud.surprise_panel(1.0, p, 3).convert("RGB")).astype(int)
        return int((abs(panel[42:46] - paint.RED).sum(axis=-1) < 60).sum())

    lengths = [coloured(p) for p in (1.0, 0.1, 0.01, 0.001, 0.0001)]
    assert lengths == sorted(lengths) and lengths[0] == 0 and lengths[1] > 0 and lengths[3] == lengths[4]


def test_the_panel_shows_score_p_and_grade_of_this_stroke() -> None:
    reducer = Reducer(tiny.SPEC)
    hear(reducer, "surprise", ALARMS[1])
    assert _alarm(reducer.snapshot().alarm) == "<span style='color:#e69f00'>5.0, p 0.001, re-plan</span>"
    hear(reducer, "observation", tiny.flying(1), session=2)
    assert _alarm(reducer.snapshot().alarm) == "-"


def test_grade_and_p_are_gauges_and_grades_reached_are_counted() -> None:
    collector = pytest.importorskip("hjepa.bus.metrics").GraphCollector
    counts = {"surprise.grade": 2, "surprise.p_ppm": 3000, "surprise.re-plan": 1}
    status = Status("low", "running", 1, 2, 3, counts, np.zeros(0))
    seen = SimpleNamespace(look=lambda: Seen({"low": status}, {}))
    found = {(s.name, s.labels.get("name", "")): s.value for m in collector(seen).collect() for s in m.samples}
    assert found["hjepa_surprise_grade", ""] == 2
    assert found["hjepa_surprise_p", ""] == pytest.approx(0.003)
    assert found["hjepa_count_total", "surprise.re-plan"] == 1
    assert ("hjepa_count_total", "surprise.grade") not in found


def test_the_shipped_ladder_is_the_classs_and_keys_change_it() -> None:
    assert react_config(load("badminton")) == ReactConfig()
    other = load("badminton", ["low.surprise.hold_looks=9", "low.surprise.reactions=[abandon]"])
    assert react_config(other).steps[3].looks == 9 and react_config(other).reactions == ("abandon",)
    assert set(ReactConfig().reactions) == set(GRADES[1:])
