"""pytest tests/unit/test_occlusion.py: flights with a part hidden, what is expected of them, strokes resumed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hjepa.config import load
from hjepa.errors import DataError
from hjepa.evaluation.results import StrokeResult
from hjepa.insight.sense import landing, occlusion
from hjepa.insight.sense import occlusion_figures as told
from hjepa.insight.sense import occlusion_flights as sky
from hjepa.insight.sense import occlusion_landing as falls
from hjepa.insight.sense import occlusion_play as court
from hjepa.insight.sense.asked import Asked
from hjepa.tasks.badminton.feeds import load_feed
from hjepa.tasks.badminton.flight import L_NOMINAL_M
from hjepa.types import RobotState
from hjepa.viewer.pictures import occlusion as pictures
from robots.sensors import SensorConfig
from robots.sim.world import WorldConfig
from tests import tiny
from tests.unit.fake_court import FakeCourt

SENSORS = WorldConfig().sensors()
SHARP = SensorConfig(0.0, 0.025, 0.0, 0.0, 0.0)
SOME = np.array([40, 400, 800, 2000, 3000, 5000])


def some_flights(share: float, drag_m: float = L_NOMINAL_M) -> sky.Flights:
    feed = load_feed("val").take(SOME)
    made = sky.make_flights(feed, tiny.SPEC, np.full(len(SOME), drag_m), seed=1)
    return made._replace(share=np.full(len(SOME), share))


class Falling:
    """A predictor that knows one parabola: 3 m/s along x from height z[:, 0]."""

    def ahead(self, z: torch.Tensor, to_go_s: torch.Tensor) -> torch.Tensor:
        t = to_go_s[:, 0]
        return torch.stack([3.0 * t, torch.zeros_like(t), z[:, 0] - 4.905 * t**2, t, t, t], dim=-1)


def test_landing_is_the_first_crossing_of_the_floor() -> None:
    heights = torch.tensor([[2.0], [0.5], [1e-4], [60.0]], dtype=torch.float64)
    found = landing.landing(Falling(), heights)
    falls_s = np.sqrt(heights[:3, 0].numpy() / 4.905)
    np.testing.assert_allclose(found.time_s[:2], falls_s[:2], atol=1e-3)
    np.testing.assert_allclose(found.xy_m[:2, 0], 3.0 * falls_s[:2], atol=3e-3)
    assert found.time_s[2] == landing.STEP_S  # it is down at the first instant that is asked for
    assert np.isnan(found.time_s[3]) and found.xy_m[3, 0] == pytest.approx(3.0 * landing.HORIZON_S)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("hidden", [0, 5, 20])
def test_nothing_has_arrived_since_the_hidden_span_when_first_asked(share: float, hidden: int) -> None:
    flights = some_flights(share)
    for i in range(len(SOME)):
        one = sky.look(flights, i, hidden, SENSORS)
        before = one.seen[one.asked[0]]
        slots = (before.tracker_stamp_ns // 10_000_000)[before.tracker_mask]
        assert (slots < one.first).all() and len(slots) >= sky.BEFORE
        assert one.asked[0] - slots[-1] >= hidden + sky.late(SENSORS)
        assert one.asked[-1] < len(flights.x_m[i]) and 0.01 * one.asked[-1] < flights.floor_s[i]
        for k, again in zip(one.asked[1:], sky.AFTER[1:], strict=False):
            mask, stamps = one.seen[k].tracker_mask, one.seen[k].tracker_stamp_ns // 10_000_000
            assert not mask[(stamps >= one.first) & (stamps < one.first + hidden)].any()
            assert 0 < mask[stamps >= one.first + hidden].sum() <= again


def test_a_span_lies_as_early_and_as_late_as_may_be() -> None:
    early, late = (sky.look(some_flights(share), 0, 20, SHARP) for share in (0.0, 0.9999))
    assert early.first == sky.BEFORE
    assert (
        late.asked[0] == len(some_flights(0.0).x_m[0]) - 2
    )  # in the air, and one slot to spare for what is seen again


def test_filters_know_what_they_are_told() -> None:
    flights = some_flights(0.6, drag_m=5.4)
    looks = [sky.look(flights, i, 20, SHARP) for i in range(len(SOME))]
    error = {}
    for name in (falls.TRUE, falls.NOMINAL, falls.ESTIMATED):
        beliefs = [sky.filtered(falls.filter_of(name, 5.4), one)[0] for one in looks]
        error[name] = np.linalg.norm(sky.landings(beliefs) - flights.floor_m, axis=-1)
    assert error[falls.TRUE].max() < 0.01
    assert (error[falls.NOMINAL] > 3.0 * error[falls.TRUE]).all()
    assert np.median(error[falls.ESTIMATED]) < 0.5 * np.median(error[falls.NOMINAL])


def test_a_filter_of_one_window_knows_nothing_of_what_has_left_it() -> None:
    flights = some_flights(0.999)
    i = int(np.argmax(flights.floor_s))
    one, config = sky.look(flights, i, 20, SENSORS), falls.filter_of(falls.TRUE, L_NOMINAL_M)
    assert one.asked[0] > 80
    late = one._replace(seen=[seen if k == one.asked[0] else one.seen[0] for k, seen in enumerate(one.seen)])
    for afresh in (True, False):
        whole, forgot = (sky.filtered(config, look, afresh)[0] for look in (one, late))
        assert whole is not None and forgot is not None
        assert (whole.x_m == forgot.x_m).all() == afresh


def test_who_knows_nothing_expects_no_landing() -> None:
    assert np.isnan(sky.landings([None, None])).all()


def test_coasting_is_right_without_drag_and_copying_stays_where_it_was() -> None:
    flights = some_flights(0.6, drag_m=1e9)
    one = sky.look(flights, 1, 10, SHARP)
    seen = one.seen[one.asked[0]]
    np.testing.assert_allclose(sky.coasting(seen), flights.floor_m[1], atol=1e-6)
    np.testing.assert_array_equal(sky.copied(seen), flights.x_m[1][one.first - 1, :2])


def setting(hidden_ms: tuple[int, ...] = (0, 200)) -> falls.Setting:
    return falls.Setting(tiny.low().level, tiny.SPEC, SENSORS, hidden_ms, seed=1)


def test_spans_that_are_kept_are_not_measured_again(tmp_path: Path) -> None:
    feed, done = load_feed("val").take(SOME[:2]), []
    first = falls.errors("varied", feed, setting(), tmp_path, lambda what, k, n: done.append(what))
    assert len(done) == 4 and set(first.m) == set(falls.WORLDS["varied"])
    again = falls.errors("varied", feed, setting(), tmp_path, lambda what, k, n: done.append(what))
    assert len(done) == 4
    np.testing.assert_array_equal(again.m[falls.NOMINAL], first.m[falls.NOMINAL])
    (tmp_path / "landing-varied-200.npz").write_bytes(b"half")
    with pytest.raises(DataError, match=r"landing-varied-200.npz' is damaged .*delete it, and examine again"):
        falls.errors("varied", feed, setting(), tmp_path, lambda *_: None)


def test_the_nominal_filter_is_told_nothing_of_a_varied_world(tmp_path: Path) -> None:
    found = falls.errors("varied", load_feed("val").take(SOME), setting((200,)), tmp_path, lambda *_: None)
    assert np.median(found.m[falls.TRUE][0, 0]) < np.median(found.m[falls.NOMINAL][0, 0])
    assert found.m[falls.OURS].shape == found.aloft.shape == (1, len(sky.AFTER), len(SOME))
    assert np.isfinite(found.m[falls.OURS][0, 0]).all()


def test_a_ratio_is_paired_and_its_interval_follows_the_clusters() -> None:
    rng = np.random.default_rng(0)
    theirs, match = rng.lognormal(size=60), np.repeat(np.arange(6), 10)
    twice = falls.clustered(np.stack([2.0 * theirs, theirs]), match, falls.medians_ratio)
    assert (twice.value, twice.lo, twice.hi) == pytest.approx((2.0, 2.0, 2.0))
    by_match = np.repeat(np.arange(1.0, 7.0), 10)  # all of the spread lies between matches
    wide = falls.clustered(np.stack([by_match, np.ones(60)]), match, falls.means_ratio)
    narrow = falls.clustered(np.stack([by_match, np.ones(60)]), np.arange(60), falls.means_ratio)
    assert wide.hi - wide.lo > 2.0 * (narrow.hi - narrow.lo)
    both, left = falls.paired(np.array([1.0, np.nan, 3.0]), np.array([1.0, 2.0, np.nan]), np.array([7, 8, 9]))
    assert both.tolist() == [[1.0], [1.0]] and left.tolist() == [7]


def test_the_middle_span_is_centred_and_another_lies_within_the_flight() -> None:
    assert court.span(1.0, court.PLAIN, 0.3) == ()
    assert court.span(1.0, court.Condition(200, court.MIDDLE), 0.3)[0] == pytest.approx((0.4, 0.6))
    assert court.span(0.3, court.Condition(400, court.MIDDLE), 0.3)[0] == pytest.approx((0.0, 0.4))
    early, late = (court.span(1.0, court.Condition(200, court.ANYWHERE), share)[0] for share in (0.0, 1.0))
    assert (early, late) == (pytest.approx((0.06, 0.26)), pytest.approx((0.8, 1.0)))
    assert court.spread_out(150, 50)[[0, -1]].tolist() == [0, 149] and len(court.spread_out(2, 50)) == 2


def test_parts_of_other_weights_or_another_world_are_not_gone_on_with(tmp_path: Path) -> None:
    asked = Asked(load("badminton", [f"agent.weights={tmp_path}"]), "badminton", 6, False, tmp_path)
    size = occlusion.size_of(asked)
    keys = [occlusion.key_of(asked.config, size)]
    for name in ("low.safetensors", "high.safetensors"):
        (tmp_path / name).write_bytes(b"trained")
        keys.append(occlusion.key_of(asked.config, size))
    keys.append(occlusion.key_of(load("badminton", [f"agent.weights={tmp_path}", "world.dropout=0.1"]), size))
    keys.append(occlusion.key_of(asked.config, occlusion.size_of(asked._replace(quick=True))))
    assert len(set(keys)) == len(keys) and occlusion.key_of(asked.config, size) == keys[2]


def test_every_flight_has_room_for_the_longest_span() -> None:
    config = load("badminton", ["task.feed=val"])
    size = occlusion.Size(2, 1, 40, (0, 400), ("hjepa",))
    feed = occlusion.flights_of(config, size, setting())
    assert len(feed.id) == 40 == len(set(feed.id.tolist()))
    for drag_m in falls.DRAG_RANGE_M:
        flights = sky.make_flights(feed, tiny.SPEC, np.full(40, drag_m), seed=0)._replace(share=np.zeros(40))
        for i in np.argsort(flights.floor_s)[:3]:
            one = sky.look(flights, int(i), 40, SENSORS)
            assert one.first + 40 < len(flights.x_m[i])  # seen again before it lands


class Idle:
    def reset(self, seed: int = 0) -> None: ...

    def act(self, observation: Any) -> None: ...


class Hiding(FakeCourt):
    """Notes what was hidden at each reset."""

    config = WorldConfig()

    def reset(self, *args: Any) -> Any:
        self.hid = [*getattr(self, "hid", []), self.config.hidden]
        return super().reset(*args)


def fake_system(count: int) -> Any:
    """Strokes for an agent that stands still at home."""
    feed, home = load_feed("val").take(np.arange(count)), RobotState(tiny.SPEC.q_home_rad, np.zeros(8))
    starts = SimpleNamespace(feasible=np.ones(1, dtype=bool), state=lambda _: home, take=lambda _: starts)
    return SimpleNamespace(config=load("badminton"), feed=feed, starts=lambda: starts, agent=lambda _: Idle())


def test_strokes_that_were_played_are_not_played_again(tmp_path: Path) -> None:
    world, system, rows = Hiding(tiny.SPEC), fake_system(3), np.arange(3)
    condition = court.Condition(200, court.MIDDLE)

    def killed(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        court.strokes(system, world, condition, rows, tmp_path, killed)
    assert len(world.hid) == 2 and world.config == WorldConfig()
    results = court.strokes(system, world, condition, rows, tmp_path, lambda *_: None)
    assert len(world.hid) == 3 and [r.id for r in results] == [str(k) for k in system.feed.id]
    middle = [0.5 * sum(spans[0]) for spans in world.hid]
    np.testing.assert_allclose(middle, 0.5 * system.feed.time_s, atol=0.011)
    court.strokes(system, world, court.PLAIN, rows[:1], tmp_path, lambda *_: None)
    assert world.hid[-1] == () and world.config == WorldConfig()


def strokes(returned: list[bool]) -> list[StrokeResult]:
    return [StrokeResult(str(k), match=str(k % 3), hit=True, returned=r) for k, r in enumerate(returned)]


def test_an_interval_of_paired_shares_is_never_empty_and_tighter_than_one_unpaired() -> None:
    same = court.newcombe(130, 0, 0, n=150)
    assert same.value == 0.0 and same.lo == pytest.approx(-same.hi) and 0.005 < same.hi < 0.04
    unrelated = court.newcombe(113, 17, 17, n=150)  # as many agree as by chance
    assert unrelated.hi > 2.0 * same.hi
    fewer, more = court.newcombe(100, 20, 5, n=150), court.newcombe(100, 5, 20, n=150)
    assert (fewer.value, fewer.lo, fewer.hi) == pytest.approx((-more.value, -more.hi, -more.lo))
    assert fewer.lo > 0.0
    assert court.newcombe(10, 0, 0, n=10).hi == pytest.approx(0.278, abs=0.001)  # Wilson's bound of 0 in 10


def test_points_lost_have_an_interval_though_no_stroke_changed() -> None:
    spread = court.lost(strokes([True] * 10), strokes([True] * 10), seed=0)["returned"]
    assert spread.value == 0.0 and spread.lo < 0.0 < spread.hi


def test_figures_are_json_and_tables_and_pictures_can_be_made_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(falls, "RESAMPLES", 20)
    hidden_ms = (0, 200)
    feed = load_feed("val").take(SOME[:3])
    errors = {world: falls.errors(world, feed, setting(hidden_ms), tmp_path, lambda *_: None) for world in falls.WORLDS}
    middle = court.Condition(200, court.MIDDLE)
    played = {"hjepa": {court.PLAIN: strokes([True] * 8), middle: strokes([True] * 6 + [False] * 2)}}
    found = told.figures(hidden_ms, errors, played, seed=0)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    row = found["play"][1]
    assert (row["returns_lost"], row["returns_gained"]) == (2, 0)
    assert row["points_lost"]["returned"]["value"] == pytest.approx(25.0)
    assert "loses 25.0 (" in told.says(found)
    for table in told.tables(found):
        assert {len(row) for row in table.rows} == {len(table.columns)}, table.title
    picture = pictures.draw(found, "note")
    assert len(picture.rows) == 2 * 7 * 2 + 2
    path = np.array([[2.0, 0.0, 2.0], [1.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    example = pictures.Example(path, np.array([0.5, 0.0]), path[:1], (1, 2), {"low level": path}, 200)
    ends = [r["z_m"] for r in pictures.flight(example, "note").rows if r["path"] == "low level"]
    assert ends[-1] == pytest.approx(0.0)
