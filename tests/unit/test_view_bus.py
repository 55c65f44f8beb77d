"""The page's source on a bus: what it hears, what it asks for, and how seldom it makes a level work for it."""

import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
import zmq

from hjepa.bus.link import Publisher, Replier
from hjepa.bus.listen import Place
from hjepa.bus.messages import Message
from hjepa.bus.topics import Empty, Weights
from hjepa.errors import LinkError
from hjepa.types import Considered, Observation
from hjepa.viewer.live.bus import BusSource
from robots.spec import load_spec
from tests.launched import wait_until

SPEC = load_spec("courtbot")
J = SPEC.joints
NUMBER = count()


@pytest.fixture
def place() -> Iterator[Place]:
    context: zmq.Context[Any] = zmq.Context()
    yield Place(f"inproc://view-{next(NUMBER)}", context)
    context.destroy(linger=0)


@pytest.fixture
def source(place: Place) -> Iterator[BusSource]:
    made = BusSource(place, SPEC, "a graph", nodes=())
    yield made
    made.close()


def seen(stamp_ns: int) -> Observation:
    return Observation(stamp_ns, SPEC.q_home_rad, np.zeros(J), np.zeros((1, 3)), np.zeros(1, bool), np.zeros(1, int))


def considered() -> Considered:
    rows = np.zeros((1, J))
    return Considered(1, 0, np.ones(1), np.ones(1), rows, rows, rows + 0.5, np.ones((1, 3)), np.ones((1, 2)), 0.5)


def test_a_level_makes_its_plans_for_the_page_a_few_times_a_second_and_not_for_a_held_one(
    place: Place, source: BusSource
) -> None:
    with (
        Publisher(place.at("observation"), context=place.context) as driver,
        Publisher(place.at("considered"), context=place.context) as low,
    ):
        source.frame()
        wait_until(lambda: driver.subscribers() == low.subscribers() == 1, "the page listens")
        driver.send("observation", seen(0), stamp_ns=0)
        wait_until(lambda: source.frame().stroke == 1, "the observation")
        for _ in range(2):
            low.send("considered", considered(), stamp_ns=0)
            wait_until(lambda: source.frame() is not None and low.subscribers() == 0, "it has heard one and lets go")
            assert source.frame().surprise == 0.5
            wait_until(lambda: source.frame() is not None and low.subscribers() == 1, "it listens again")
        source.pause(True)
        low.send("considered", considered(), stamp_ns=0)
        wait_until(lambda: source.frame() is not None and low.subscribers() == 0, "it lets go")
        driver.send("observation", seen(50_000_000), stamp_ns=0)
        source._plans_s = 0.0  # as if the pause between two were over
        for _ in range(50):
            assert source.frame().time_s == 0.0
        assert low.subscribers() == 0


def served(place: Place, answer: Callable[[Message], tuple[str, Any]], stop: threading.Event) -> threading.Thread:
    """A level's control channel in a thread."""

    def serve() -> None:
        with Replier(place.at("low-control"), context=place.context) as replier:
            while not stop.is_set():
                replier.serve(answer, 0.02)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_weights_are_read_from_the_level_and_set_on_it_and_a_refusal_is_told(place: Place, source: BusSource) -> None:
    values = {"goal": 1.0}

    def answer(message: Message) -> tuple[str, Any]:
        if message.header.kind == "get_weights":
            return "weights", Weights(dict(values))
        if set(message.value.values) - set(values):
            raise LinkError("no such weight")
        values.update(message.value.values)
        return "ok", Empty()

    stop = threading.Event()
    thread = served(place, answer, stop)
    try:
        source.frame()
        wait_until(lambda: source.weights() == {"low": {"goal": 1.0}}, "the level's weights")
        source.set_weight("low", "goal", 2.5)
        assert values == {"goal": 2.5}
        assert source.weights()["low"]["goal"] == 2.5
        with pytest.raises(LinkError, match="no such weight"):
            source.set_weight("low", "gaol", 1.0)
        values["goal"] = 3.0  # by somebody else
        wait_until(lambda: source.weights()["low"]["goal"] == 3.0, "the change")
    finally:
        stop.set()
        thread.join()
