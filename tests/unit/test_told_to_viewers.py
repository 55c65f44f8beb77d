"""What levels tell viewers is what they decided by, changes nothing, and weights can be changed while they play."""

import time
from dataclasses import replace

import numpy as np
import pytest

from hjepa.bus.fake import PointHigh, PointLow, PointWorld
from hjepa.bus.inproc import InprocGraph
from hjepa.bus.link import Requester
from hjepa.bus.listen import Place, listen
from hjepa.bus.messages import unpack
from hjepa.bus.topics import Empty, Weights
from hjepa.errors import ConfigError, LinkError
from hjepa.planning.considering import SHOWN
from hjepa.planning.hierarchy import HighPlanConfig, HighPlanner
from hjepa.planning.objectives import LowWeights
from hjepa.planning.searching import LowPlanConfig
from hjepa.planning.stroke_planner import StrokePlanner
from hjepa.types import Considered, Launch, RobotState, Weighed
from tests import tiny
from tests.unit.test_hierarchy import CODES, TYPES, ToyShots, _observation
from tests.unit.test_repeated_search import goal, observation

WEIGHTS = LowWeights()
START = RobotState(np.array([0.5, -0.5]), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")


def low(weights=WEIGHTS):
    bundle = tiny.low()
    return StrokePlanner(bundle.level, bundle.proposal, tiny.SPEC, LowPlanConfig(), weights)


def said(planner, ask=False, tune_at=None, **weights):
    """Commands and energies of four plans of a stroke."""
    out = []
    planner.reset(3)
    for k in range(4):
        if k == tune_at:
            planner.tune(weights)
        command = planner.plan(observation(70 + 4 * k), goal())
        if ask:
            planner.considered()
        out.append((command.q_rad.tobytes(), planner.explain().energy))
    return out


def test_the_plan_stands_first_among_what_was_considered():
    planner = low()
    planner.reset(3)
    for k in range(2):
        planner.plan(observation(70 + 4 * k), goal())
        told, plan = planner.considered(), planner.explain()
        assert told.goal_id == plan.goal_id and told.stamp_ns == observation(70 + 4 * k).stamp_ns
        assert 1 < len(told.energies) <= SHOWN
        assert told.energies[0] == pytest.approx(plan.energy)
        assert (np.diff(told.energies[1:]) >= 0).all()
        np.testing.assert_allclose(told.landing_xy_m[0], plan.predicted_xy_m, rtol=1e-3, atol=1e-3)
        assert told.q_rad.shape == (len(told.energies), 8) and told.contact_m.shape == (len(told.energies), 3)
        assert planner.considered() is None, "nothing new"


def test_asking_changes_no_plan():
    assert said(low(), ask=True) == said(low())


def test_tuned_weights_are_those_of_a_planner_made_with_them():
    other = replace(WEIGHTS, effort=2.0, goal=0.2)
    assert said(low(), tune_at=0, effort=2.0, goal=0.2) == said(low(other))
    assert said(low()) != said(low(other))
    tuned = low()
    tuned.tune({"effort": 2.0})
    assert tuned.tunable() == low().tunable() | {"effort": 2.0}


def test_weights_in_force_on_the_way_change_the_plan_at_once():
    before, after = said(low()), said(low(), tune_at=2, effort=5.0)
    assert after[:2] == before[:2]
    assert after[2][1] > before[2][1], "the same motion costs more"


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"efort": 1.0}, "no weight 'efort'.*effort"),
        ({"effort": -1.0}, "effort is -1"),
        ({"net": np.nan}, "net is nan"),
    ],
)
def test_what_is_no_weight_is_refused_and_changes_nothing(values, match):
    planner = low()
    with pytest.raises(ConfigError, match=match):
        planner.tune({"goal": 3.0} | values)
    assert planner.weights == WEIGHTS


def high(**changes):
    return HighPlanner(ToyShots(), TYPES, HighPlanConfig(candidates=len(CODES), scatter_m=0.0, **changes))


def test_terms_of_what_was_weighed_add_up_to_the_energies_of_the_goal():
    planner = high()
    assert planner.weighed() is None
    chosen = planner.decide(_observation(20), lambda goals, roots: np.arange(float(len(goals))))
    told = planner.weighed()
    assert isinstance(told, Weighed) and told.goal_id == chosen.id
    np.testing.assert_array_equal(told.energies, chosen.energies)
    parts = (told.win, told.support, told.name, told.reach, told.mixing)
    np.testing.assert_allclose(sum(parts), told.energies)
    np.testing.assert_allclose(told.reach, planner.config.reach * np.arange(len(told.reach)))
    best = int(told.energies.argmin())
    assert told.names.split("\n")[best] == chosen.type
    np.testing.assert_array_equal(told.target_xy_m[best], chosen.target_xy_m)


def test_a_tuned_high_level_decides_as_one_made_so():
    def energies(planner):
        return planner.decide(_observation(20), lambda goals, roots: np.arange(float(len(goals)))).energies

    tuned = high()
    tuned.tune({"reach": 3.0, "mixing": 0.0})
    np.testing.assert_array_equal(energies(tuned), energies(high(reach=3.0, mixing=0.0)))
    with pytest.raises(ConfigError, match="no weight 'candidates'"):
        tuned.tune({"candidates": 3.0})


class TunedLow(PointLow):
    """A toy with a weight, that tells what it considered."""

    def __init__(self):
        self.weights, self.asked = {"effort": 0.5}, 0
        super().__init__()

    def tunable(self):
        return dict(self.weights)

    def tune(self, values):
        if values.keys() - self.weights.keys():
            raise ConfigError("no such weight")
        self.weights |= values

    def considered(self):
        self.asked += 1
        one = np.ones((1, 2))
        return Considered(
            self.plan_made.goal_id, 0, *np.ones((2, 1)), one, one, one, np.ones((1, 3)), one, float("nan")
        )


def test_over_the_bus_weights_change_and_only_who_listens_is_told():
    made = TunedLow()
    with InprocGraph(PointWorld(), PointHigh(), made) as graph:
        graph.play(START, LAUNCH, 3)
        assert made.asked == 0, "nobody listens"
        base, context = graph.config.base, graph.context
        with Requester(f"{base}/low-control", context=context) as ask:
            ask.request("tune", Weights({"effort": 2.0}), timeout_s=5)
            assert ask.request("get_weights", Empty(), timeout_s=5).value.values == {"effort": 2.0} == made.weights
            with pytest.raises(LinkError, match="no such weight"):
                ask.request("tune", Weights({"speed": 2.0}), timeout_s=5)
        with (
            Requester(f"{base}/high-control", context=context) as ask,
            pytest.raises(LinkError, match="no weights that"),
        ):
            ask.request("get_weights", Empty(), timeout_s=5)
        link = listen(Place(base, context), "considered")
        try:
            deadline = time.monotonic() + 30.0
            while not graph.status("low").counts["subscribers.considered"]:
                assert time.monotonic() < deadline, "the low level never learned that somebody listens"
            episode = graph.play(START, LAUNCH, 3)
            heard = []
            while len(heard) < made.asked and link.socket.poll(30_000):
                heard.append(unpack(link.socket.recv()))
        finally:
            link.close()
    assert len(heard) == made.asked == len(episode.plans)
    assert [message.header.kind for message in heard] == ["considered"] * len(heard)
