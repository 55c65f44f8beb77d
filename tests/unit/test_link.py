"""Streams give the newest value, requests give their own answer or time out, and nothing leaves the machine."""

import threading
import time

import numpy as np
import pytest
import zmq

from hjepa.bus import wire
from hjepa.bus.link import Publisher, Replier, Requester, Subscriber, check_address
from hjepa.bus.messages import pack
from hjepa.bus.topics import Empty, Text, Tick, Ticked
from hjepa.errors import CommandError, LinkError, LinkTimeout, WireError

WAIT_S = 30.0  # far more than anything here takes


@pytest.fixture
def context():
    with zmq.Context() as context:
        yield context


@pytest.fixture(params=["inproc", "ipc", "tcp"])
def address(request, tmp_path):
    return {"inproc": "inproc://test", "ipc": f"ipc://{tmp_path}/s", "tcp": "tcp://127.0.0.1:*"}[request.param]


def stream(address, context, **options):
    """A publisher and a subscriber that hear each other."""
    publisher = Publisher(address, context=context)
    subscriber = Subscriber(publisher.address, ("tick",), context=context, **options)
    publisher.wait_subscribers(1, WAIT_S)
    return publisher, subscriber


def until_sent(publisher, subscriber):
    """Send a last message and wait for it, so that all before it have come too (when not conflating)."""
    publisher.send("tick", Tick(-1), stamp_ns=0)
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        message = subscriber.latest(0.1)
        if message is not None and message.value.ticks == -1:
            return True
    return False


def test_a_message_arrives_as_it_was_sent(address, context):
    publisher, subscriber = stream(address, context)
    with publisher, subscriber:
        publisher.restart(7)
        publisher.send("tick", Tick(3), stamp_ns=11, valid_for_ns=12, answers=13)
        message = subscriber.receive(WAIT_S)
    assert message.value == Tick(3)
    header = message.header
    assert (header.session, header.sequence, header.stamp_ns) == (7, 0, 11)
    assert (header.valid_for_ns, header.answers) == (12, 13)


@pytest.mark.parametrize("conflate", [True, False])
def test_the_newest_value_wins(context, conflate):
    publisher, subscriber = stream("inproc://test", context, conflate=conflate)
    with publisher, subscriber:
        for number in range(100):
            publisher.send("tick", Tick(number), stamp_ns=0)
        deadline = time.monotonic() + WAIT_S
        message = subscriber.latest(WAIT_S)
        while message.value.ticks < 99 and time.monotonic() < deadline:
            message = subscriber.latest(WAIT_S)
        assert message.value == Tick(99)
        assert subscriber.latest(0.0) is None


def test_without_conflation_nothing_is_skipped(address, context):
    publisher, subscriber = stream(address, context, conflate=False)
    with publisher, subscriber:
        for number in range(50):
            publisher.send("tick", Tick(number), stamp_ns=0)
        assert [subscriber.receive(WAIT_S).value.ticks for _ in range(50)] == list(range(50))


def test_a_bad_frame_does_not_displace_a_good_one(context):
    publisher, subscriber = stream("inproc://test", context, conflate=False)
    with publisher, subscriber:
        publisher.send("tick", Tick(1), stamp_ns=0)
        for frame in (
            b"",
            b"garbage",
            bytes(100),
            pack("error", Text("wrong kind"), session=0, sequence=9, stamp_ns=0),
        ):
            publisher.socket.send(frame)
        deadline, message = time.monotonic() + WAIT_S, None
        while sum(subscriber.drops.values()) < 4 and time.monotonic() < deadline:
            message = subscriber.latest(0.01) or message
        assert message.value == Tick(1)
        assert subscriber.drops == {"garbage": 4}


def test_a_flood_of_garbage_does_not_hold_the_receiver(context):
    with Publisher("inproc://test", context=context) as publisher:
        publisher.socket.setsockopt(zmq.SNDHWM, 0)
        with Subscriber("inproc://test", ("tick",), context=context, conflate=False, queue=0) as subscriber:
            publisher.wait_subscribers(1, WAIT_S)
            for _ in range(3000):
                publisher.socket.send(b"garbage")
            assert subscriber.receive(0.0) is None
            assert 0 < subscriber.drops["garbage"] < 3000, "one call looks at a bounded number of frames"


def test_an_idle_stream_gives_none_in_time(context):
    publisher, subscriber = stream("inproc://test", context)
    with publisher, subscriber:
        started = time.monotonic()
        assert subscriber.receive(0.05) is None
        assert time.monotonic() - started >= 0.05


def test_subscribers_are_counted_as_they_come_and_go(address, context):
    with Publisher(address, context=context) as publisher:
        with pytest.raises(LinkTimeout, match="0 of 1"):
            publisher.wait_subscribers(1, 0.02)
        subscribers = [Subscriber(publisher.address, ("tick",), context=context) for _ in range(3)]
        publisher.wait_subscribers(3, WAIT_S)
        for subscriber in subscribers:
            subscriber.close()
        deadline = time.monotonic() + WAIT_S
        while publisher.subscribers() and time.monotonic() < deadline:
            time.sleep(0.001)
        assert publisher.subscribers() == 0


def test_a_restarted_publisher_is_heard_again(tmp_path, context):
    address = f"ipc://{tmp_path}/s"
    publisher, subscriber = stream(address, context)
    with subscriber:
        publisher.restart(1)
        publisher.send("tick", Tick(1), stamp_ns=0)
        assert subscriber.receive(WAIT_S).value == Tick(1)
        publisher.close()
        assert subscriber.receive(0.05) is None  # zmq closes in the background
        with Publisher(address, context=context) as again:
            deadline = time.monotonic() + WAIT_S
            while not again.subscribers() and time.monotonic() < deadline:
                assert subscriber.receive(0.01) is None  # zmq subscribes again when the subscriber's thread comes by
            again.restart(2)
            again.send("tick", Tick(2), stamp_ns=0)
            assert subscriber.receive(WAIT_S).value == Tick(2)


class Server(threading.Thread):
    """A replier in a thread."""

    def __init__(self, address, context, handler):
        super().__init__(daemon=True)
        self.replier = Replier(address, context=context)
        self.handler, self.ended, self.error = handler, threading.Event(), None
        self.start()

    def run(self):
        try:
            while not self.ended.is_set():
                self.replier.serve(self.handler, 0.01)
        except ValueError as error:
            self.error = error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
        self.replier.close()


def double(message):
    return "ticked", Ticked(2 * message.value.ticks, message.header.stamp_ns, False)


def test_requests_are_answered(address, context):
    with Server(address, context, double) as server, Requester(server.replier.address, context=context) as requester:
        for number in range(20):
            reply = requester.request("tick", Tick(number), timeout_s=WAIT_S, session=4, stamp_ns=number)
            assert reply.value == Ticked(2 * number, number, False)
            assert reply.header.session == 4


def test_a_late_answer_is_not_taken_for_the_next_one(context):
    go = threading.Event()

    def slow_once(message):
        if message.value.ticks == 1:
            go.wait(WAIT_S)
        return double(message)

    with Server("inproc://slow", context, slow_once), Requester("inproc://slow", context=context) as requester:
        with pytest.raises(LinkTimeout, match="no answer to 'tick'"):
            requester.request("tick", Tick(1), timeout_s=0.05)
        go.set()
        assert requester.request("tick", Tick(2), timeout_s=WAIT_S).value.tick == 4
        assert requester.drops == {"reordered": 1}


def test_a_dead_replier_is_a_timeout_and_a_new_one_is_found(tmp_path, context):
    address = f"ipc://{tmp_path}/s"
    with Requester(address, context=context) as requester:
        with pytest.raises(LinkTimeout):
            requester.request("tick", Tick(1), timeout_s=0.05)
        with Server(address, context, double):
            assert requester.request("tick", Tick(2), timeout_s=WAIT_S).value.tick == 4
        with pytest.raises(LinkTimeout):
            requester.request("tick", Tick(3), timeout_s=0.05)


def test_a_refusal_comes_back_in_words_and_the_replier_lives(context):
    def refuse(message):
        if message.value.ticks == 0:
            raise CommandError("zero ticks; allowed: at least 1")
        return double(message)

    with Server("inproc://r", context, refuse) as server, Requester("inproc://r", context=context) as requester:
        with pytest.raises(LinkError, match="zero ticks; allowed: at least 1"):
            requester.request("tick", Tick(0), timeout_s=WAIT_S)
        assert requester.request("tick", Tick(1), timeout_s=WAIT_S).value.tick == 2
        assert server.error is None


def test_a_fault_in_the_handler_is_told_and_then_raised(context):
    def broken(_):
        raise ValueError("bug")

    with Server("inproc://b", context, broken) as server, Requester("inproc://b", context=context) as requester:
        with pytest.raises(LinkError, match="ValueError in the node: bug"):
            requester.request("tick", Tick(0), timeout_s=WAIT_S)
        server.join(WAIT_S)
        assert isinstance(server.error, ValueError)


def test_garbage_on_a_request_channel_is_counted_and_survived(context):
    with Server("inproc://g", context, double) as server, Requester("inproc://g", context=context) as requester:
        requester.socket.send(b"garbage")
        requester.socket.send_multipart([b"a", b"b"])
        assert requester.request("tick", Tick(1), timeout_s=WAIT_S).value.tick == 2
        assert server.replier.drops == {"garbage": 2}


def test_a_waiting_requester_can_be_called_off(context):
    class Gone(Exception):
        pass

    def idle():
        raise Gone

    with Replier("inproc://w", context=context), Requester("inproc://w", context=context, idle=idle) as requester:
        started = time.monotonic()
        with pytest.raises(Gone):
            requester.request("tick", Tick(1), timeout_s=WAIT_S)
        assert time.monotonic() - started < WAIT_S / 2


@pytest.mark.parametrize(
    "address",
    ["inproc://x", "ipc:///tmp/x", "tcp://127.0.0.1:5", "tcp://127.3.2.1:*", "tcp://localhost:5", "tcp://[::1]:5"],
)
def test_local_addresses_are_allowed(address):
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address", ["tcp://*:5555", "tcp://0.0.0.0:5555", "tcp://192.168.0.1:5", "tcp://robot:5", "tcp://[::]:5"]
)
def test_an_address_that_others_can_reach_needs_keys(address, context):
    for make in (Publisher, Replier, Requester):
        with pytest.raises(LinkError, match="needs keys"):
            make(address, context=context)


@pytest.mark.parametrize(
    "address", ["", "ipc://", "ipc://x", "ipc://@abstract", "udp://127.0.0.1:1", "inproc://", "ipc:///" + "x" * 200]
)
def test_other_addresses_are_refused(address):
    with pytest.raises(LinkError, match="allowed|is not one of"):
        check_address(address)


def test_an_address_in_use_is_said_so(context):
    in_use = pytest.raises(LinkError, match="bind to .* failed: Address already in use")
    with Publisher("tcp://127.0.0.1:*", context=context) as publisher, in_use:
        Replier(publisher.address, context=context)


def test_what_may_not_be_sent_raises_at_the_sender(context):
    with Publisher("inproc://x", context=context) as publisher:
        with pytest.raises(WireError):
            publisher.send("tick", Empty(), stamp_ns=0)
        assert publisher.sequence == 0


def test_a_frame_over_the_cap_is_counted(context):
    publisher, subscriber = stream("inproc://test", context, conflate=False)
    with publisher, subscriber:
        publisher.socket.send(np.zeros(wire.MAX_FRAME_BYTES + 1, dtype=np.uint8).tobytes())
        assert until_sent(publisher, subscriber)
        assert subscriber.drops == {"size": 1}


def test_a_subscriber_that_only_waits_is_heard_again_by_a_publisher_that_came_back(tmp_path, context):
    where = f"ipc://{tmp_path}/t"
    with Subscriber(where, ("tick",), context=context, conflate=False) as subscriber:
        for _ in range(2):
            with Publisher(where, context=context) as publisher:
                deadline = time.monotonic() + WAIT_S
                while not publisher.subscribers() and time.monotonic() < deadline:
                    subscriber.poke()
                    time.sleep(0.005)
                assert publisher.subscribers() == 1
