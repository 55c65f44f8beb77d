"""pytest tests/unit/test_effort.py: the effort-return curve from made-up strokes, and parts that are kept."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hjepa import config
from hjepa.benches import host
from hjepa.benches.energy import PackageMeter
from hjepa.insight.sense import effort, effort_cost
from hjepa.insight.sense.effort_curve import Costs, least_energy
from hjepa.insight.sense.effort_play import Bill, Metered, Setting, Stroke, kept, operations
from hjepa.types import JointTrajectory, Observation
from hjepa.viewer.pictures import effort as picture
from tests import tiny

NAN = float("nan")


def strokes(energies_j: list[float], returned: list[bool]) -> list[Stroke]:
    """Each of a match of its own."""
    return [
        Stroke(str(k), str(k), True, won, won, j, 0.6 * j, 3.0, (1.0, 3.0), (2.0,), 5.0, 0.004, NAN)
        for k, (j, won) in enumerate(zip(energies_j, returned, strict=True))
    ]


def test_energy_of_a_return_is_all_energy_over_all_returns() -> None:
    costs = Costs({"ours": strokes([100.0, 200.0, 300.0, 400.0], [True, True, False, False])}, 0)
    point = costs.point("ours")
    assert (point.strokes, point.returns) == (4, 2)
    assert point.stroke_j.value == pytest.approx(250.0)
    assert point.return_j.value == pytest.approx(500.0)
    assert point.stroke_j.lo < 250.0 < point.stroke_j.hi
    assert point.before_j.value == pytest.approx(150.0)


def test_who_returns_nothing_has_no_energy_of_a_return() -> None:
    point = Costs({"ours": strokes([100.0, 200.0], [False, False])}, 0).point("ours")
    assert point.return_j.value == np.inf
    assert host.plain(point)["return_j"]["value"] is None


def test_a_ratio_is_paired_stroke_by_stroke() -> None:
    ours, theirs = [100.0, 1000.0, 10_000.0], [200.0, 2000.0, 20_000.0]
    ratio = Costs({"a": strokes(ours, [True] * 3), "b": strokes(theirs, [True] * 3)}, 0).ratio("a", "b")
    for found in (ratio.per_stroke, ratio.per_return):
        assert (found.value, found.lo, found.hi) == pytest.approx((0.5, 0.5, 0.5))
    assert ratio.rate_difference.value == 0.0


def test_strokes_that_are_not_the_same_are_not_compared() -> None:
    other = [stroke._replace(id="9") for stroke in strokes([1.0], [True])]
    with pytest.raises(AssertionError):
        Costs({"a": strokes([1.0], [True]), "b": other}, 0)


@pytest.mark.parametrize(
    ("wanted", "energy", "settings"),
    [
        (0.0, 100.0, {0}),
        (0.2, 100.0, {0}),  # the cheapest returns as much
        (0.6, 150.0, {0, 1}),  # half of the strokes with each
        (1.0, 200.0, {1}),  # not setting 2, which costs more
        (1.1, np.inf, {-1}),
    ],
)
def test_least_energy_at_a_rate_mixes_two_settings_at_most(wanted: float, energy: float, settings: set[int]) -> None:
    rates, energies = np.array([[0.2, 1.0, 1.0]]), np.array([[100.0, 200.0, 300.0]])
    least, which = least_energy(rates, energies, np.array([wanted]))
    assert least[0] == pytest.approx(energy)
    assert set(which[0].tolist()) == settings


def test_the_curve_is_compared_at_a_rate_that_it_reaches() -> None:
    parts = {
        "cheap": strokes([100.0] * 4, [True, False, False, False]),
        "good": strokes([200.0] * 4, [True] * 4),
        "rival": strokes([400.0] * 4, [True] * 4),
    }
    costs = Costs(parts, 0)
    equal = costs.at_equal_rate(["cheap", "good"], "rival")
    assert (equal.ratio.value, equal.settings) == (pytest.approx(0.5), ("good",))
    beyond = costs.at_equal_rate(["cheap"], "rival")
    assert (beyond.ratio.value, beyond.settings) == (np.inf, ())


def test_a_sweep_changes_the_weights_that_it_names_alone() -> None:
    base = config.load("badminton")
    alone, both = effort.sweeps((0.0, 1.0, 4.0)).values()
    assert alone[1] == both[1] == Setting(effort.USUAL, "hjepa")
    assert alone[1].of(base) == base
    weights = base.low.weights
    found = [setting.of(base).low.weights for setting in (alone[2], both[2])]
    assert found[0] == weights.model_copy(update={"effort": 4 * weights.effort})
    assert found[1] == weights.model_copy(update={"effort": 4 * weights.effort, "haste": 4 * weights.haste})
    assert Setting("oracle", "oracle").of(base).agent.name == "oracle"


def test_a_part_is_played_once_and_again_where_the_configuration_differs(tmp_path: Path) -> None:
    base, setting, made = config.load("badminton"), Setting("hjepa x1", "hjepa"), strokes([1.0, NAN], [True, False])
    played: list[int] = []

    def play() -> list[Stroke]:
        played.append(1)
        return made

    for _ in range(2):
        found = kept(tmp_path, setting, base, play)
        np.testing.assert_equal([list(stroke) for stroke in found], [list(stroke) for stroke in made])  # nan is nan
    assert len(played) == 1
    for other in (["task.seed=5"], ["low.weights.effort=9"]):
        kept(tmp_path, setting, config.load("badminton", other), play)
    assert len(played) == 3


class Doing:
    """An agent that takes some time."""

    def reset(self, seed: int = 0) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> JointTrajectory | None:
        """No command, after some arithmetic."""
        np.linalg.svd(np.ones((60, 60)))
        return None


class Moving:
    """A world that spends 10 J a tick and is hit at the third."""

    def __init__(self) -> None:
        self.ticks = 0

    def tick(self) -> int:
        self.ticks += 1
        return self.ticks

    def outcome(self) -> SimpleNamespace:
        return SimpleNamespace(effort_j=10.0 * self.ticks, contact_s=0.03 if self.ticks >= 3 else NAN)


def test_energy_until_the_contact_is_noted_stroke_by_stroke() -> None:
    world = Moving()
    bill = Bill(world)  # type: ignore[arg-type]
    assert [world.tick() for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    assert bill.before_j == 20.0
    world.ticks = 0  # the next stroke
    world.tick()
    assert bill.before_j == 10.0


def test_what_acting_costs_is_summed_over_a_stroke(tmp_path: Path) -> None:
    agent = Metered(Doing(), PackageMeter(tmp_path))
    seen = tiny.flying(20)
    for _ in range(20):
        assert agent.act(seen) is None
    spent = agent.cpu_s
    assert spent > 0.0
    assert np.isnan(agent.package_j)
    agent.reset()
    assert agent.cpu_s == 0.0


def test_processor_time_is_shared_by_the_decisions_that_were_made() -> None:
    found = effort_cost._cost(config.load("badminton"), "classical", strokes([1.0] * 3, [True] * 3))
    assert found.decisions == 6
    assert found.cpu_ms.value == pytest.approx(2.0)  # 4 ms a stroke, two decisions each
    assert np.isnan(found.package_j.value)
    assert np.isnan(found.high_mflop)
    assert found.low_ms.p50 == pytest.approx(2.0)


def test_resamples_of_strokes_that_decided_nothing_are_left_out() -> None:
    decided, silent = strokes([1.0, 1.0], [True, True])
    found = effort_cost._cost(config.load("badminton"), "classical", [decided, silent._replace(low_ms=(), cpu_s=0.0)])
    assert (found.cpu_ms.value, found.cpu_ms.lo, found.cpu_ms.hi) == pytest.approx((2.0, 2.0, 2.0))


def test_the_operations_of_the_high_level_and_of_its_questions_are_counted(weights: Path) -> None:
    few = ["task.strokes=1", f"agent.weights={weights}"]
    counted = operations(config.load("badminton", few), "hjepa")
    assert len(counted.own) == len(counted.asked) == 1
    assert counted.own[0] > 0.0
    assert counted.asked[0] > 0.0


def test_the_picture_shows_every_setting_and_says_who_returned_nothing() -> None:
    spots = [picture.Spot(f"x{k}", (100.0 + k, 90.0, 120.0), (50.0, 40.0, 60.0)) for k in range(3)]
    lost = picture.Spot("reactive", (np.inf, np.inf, np.inf), (0.0, 0.0, 6.0))
    drawn = picture.draw([picture.Panel("all strokes", "return", {"effort alone": spots}, [lost])], "says", "note")
    (axes,) = drawn.figure.axes
    words = {text.get_text() for text in axes.texts}
    assert {"x0", "x1", "x2", "no return: reactive"} <= words
    assert [row["setting"] for row in drawn.rows] == ["x0", "x1", "x2", "reactive"]
