"""The graph over the bus says what its parts say in one process, and stops the robot when a part is gone."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zmq

from hjepa.bus import wire
from hjepa.bus.driver import DriverNode
from hjepa.bus.fake import PointHigh, PointLow, PointWorld
from hjepa.bus.graph import NODES
from hjepa.bus.inproc import InprocGraph, run_inproc
from hjepa.bus.link import Publisher, Requester, Subscriber
from hjepa.bus.messages import pack
from hjepa.bus.node import TICK_NS, BusConfig
from hjepa.bus.nodes import LowNode
from hjepa.bus.processes import NodeSpec, ProcessGraph, build
from hjepa.bus.topics import TOPICS, Empty, Reset, Tick, address
from hjepa.errors import ConfigError, LinkError, NodeDied
from hjepa.handover import Handover
from hjepa.types import JointTrajectory, Launch, RobotState

START = RobotState(np.array([0.5, -0.5]), np.zeros(2))
LAUNCH = Launch(np.array([1.0, 1.0, 2.0]), np.array([-1.0, 0.0, 4.0]), "clear")
PARTS = {"driver": "PointWorld", "high": "PointHigh", "low": "PointLow"}
WAIT_S = 60.0
ROOT = Path(__file__).parents[2]


def specs(**args):
    return {name: NodeSpec(f"hjepa.bus.fake:{part}", args.get(name, {})) for name, part in PARTS.items()}


def directly(seed, low_period=4, high_period=4):
    """The same parts called in one process: the reference for everything that goes over the bus."""
    world, high, low, handover = PointWorld(), PointHigh(), PointLow(), Handover()
    world.connect()
    observation = world.reset(START, LAUNCH, seed)
    high.reset(seed)
    low.reset(seed)
    said = {"observations": [observation], "goals": [], "commands": [], "plans": []}
    for tick in range(10_000):
        if world.done:
            break
        if tick % high_period == 0:
            now = observation
            goal = high.decide(now, lambda *goals, now=now: low.reachability(now, *goals))
            if goal is not None:
                handover.offer(goal)
                said["goals"].append(goal)
        goal = handover.at(observation.stamp_ns)
        if tick % low_period == 0 and goal is not None:
            command = low.plan(observation, goal)
            world.send(command)
            said["commands"].append(command)
            said["plans"].append(low.explain())
        observation = world.tick()
        said["observations"].append(observation)
    return said, world.outcome(), world.log()


def bits(value):
    """Everything in a value of hjepa.types, exactly."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tuple | list):
        return tuple(bits(item) for item in value)
    return repr(value)


def assert_same(episode, reference):
    said, outcome, _ = reference
    for name, values in said.items():
        assert len(values) > 1, name
        received = getattr(episode, name)
        if name == "plans":
            received = [plan._replace(plan_ms=0.0) for plan in received]
        assert bits(received) == bits(values), name
    assert bits(episode.outcome) == bits(outcome)


# lockstep


@pytest.mark.parametrize("periods", [(4, 4), (2, 6), (1, 1)])
def test_lockstep_over_inproc_says_what_direct_calls_say(periods):
    options = {"low_period_ticks": periods[0], "high_period_ticks": periods[1]}
    with InprocGraph(PointWorld(), PointHigh(), PointLow(), **options) as graph:
        for seed in (3, 4, 3):
            episode = graph.play(START, LAUNCH, seed, record=True)
            reference = directly(seed, *periods)
            assert_same(episode, reference)
            assert bits(episode.record.arrays["q_rad"]) == bits(reference[2].q_rad)
            assert episode.record.rest == '{"events": ["launch"]}'


def test_lockstep_over_processes_says_what_direct_calls_say():
    with ProcessGraph(specs()) as graph:
        pids = {name: process.pid for name, process in graph.processes.items()}
        for seed in (3, 4):
            assert_same(graph.play(START, LAUNCH, seed), directly(seed))
        assert os.getpid() not in pids.values() and len(set(pids.values())) == 3
        folder = graph.config.base.removeprefix("ipc://")
        assert Path(folder).parent == Path(tempfile.gettempdir())
        assert Path(folder).stat().st_mode & 0o077 == 0, "nobody else may open the sockets"
        unused = {"low-journal", "high-journal"}  # nobody records
        assert {path.name for path in Path(folder).iterdir()} == set(TOPICS) - unused | {"command.key_secret"}
    assert all(process.exitcode == 0 for process in graph.processes.values())
    assert not Path(folder).exists()


def test_two_runs_of_a_seed_are_the_same_bytes():
    def frames():
        options = {"session": 1, "stopwatch_ns": lambda: 0}
        (episode,) = run_inproc(PointWorld(), PointHigh(), PointLow(), [(START, LAUNCH, 5)], **options)
        said = {
            topic: [
                pack(m.header.kind, m.value, **{name: getattr(m.header, name) for name in header}) for m in messages
            ]
            for topic, messages in episode.messages.items()
            if topic not in ("status", "surprise", "zones")  # toys neither watch nor scan
        }
        assert all(len(messages) > 10 for messages in said.values())
        return said

    header = ("session", "sequence", "stamp_ns", "valid_for_ns", "answers")
    assert frames() == frames()


def test_a_slow_level_changes_nothing_in_lockstep():
    high, low = PointHigh(decide_s=0.02), PointLow(plan_s=0.002)
    (episode,) = run_inproc(PointWorld(), high, low, [(START, LAUNCH, 3)])
    assert_same(episode, directly(3))
    assert episode.wall_ms("high").max() >= 20 and episode.wall_ms("low").min() >= 2


def test_the_listener_hears_everything_in_order():
    heard = []
    with InprocGraph(PointWorld(), PointHigh(), PointLow()) as graph:
        episode = graph.play(START, LAUNCH, 3, listener=lambda topic, message: heard.append((topic, message)))
    for topic, messages in episode.messages.items():
        assert [m for t, m in heard if t == topic] == list(messages)
        assert [m.header.sequence for m in messages] == list(range(len(messages)))


def test_a_dead_low_level_names_itself_at_once():
    with pytest.raises(NodeDied, match="node low ended: RuntimeError: toy level told to die") as caught:
        list(run_inproc(PointWorld(), PointHigh(), PointLow(die_at=3), [(START, LAUNCH, 3)]))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_driver_that_cannot_connect_is_named_and_the_process_lives_on():
    code = """
        from hjepa.bus.fake import PointHigh, PointLow, PointWorld
        from hjepa.bus.inproc import InprocGraph
        from hjepa.errors import NodeDied
        class Unplugged(PointWorld):
            def connect(self):
                raise OSError("no such port")
        for _ in range(3):
            try:
                InprocGraph(Unplugged(), PointHigh(), PointLow()).__enter__()
            except NodeDied as error:
                print(error)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["node driver ended: OSError: no such port"] * 3


def test_without_its_low_level_the_driver_brakes_holds_and_the_episode_ends():
    world = PointWorld()
    with InprocGraph(world, PointHigh(), PointLow(die_at=5), answer_timeout_s=1.0) as graph:
        episode = graph.play(START, LAUNCH, 3, finish=True)
    driver = episode.status["driver"]
    assert "low" not in episode.status
    assert driver.counts["low.silent"] == 1
    assert driver.counts["command.applied"] == 4
    assert_stops(episode)


def assert_stops(episode):
    """The robot moved; when its last command ran out it braked within limits, then stood."""
    last = episode.commands[-1]
    over_ns = last.start_ns + min(last.valid_ns, round((len(last.q_rad) - 1) * last.dt_s * 1e9))
    speeds = {o.stamp_ns: np.abs(o.dq_rad_s) for o in episode.observations}
    assert max(speed.max() for speed in speeds.values()) > 0.5
    limit = 20.0 * 0.01 * (1 + 1e-9)  # the point robot's acceleration in one tick
    stamps = sorted(speeds)
    for before, after in zip(stamps, stamps[1:]):
        assert (np.abs(speeds[after] - speeds[before]) <= limit).all()
    braked = over_ns + TICK_NS + round(1e9 * 5.0 / 20.0)
    assert max(stamps) > braked, "the episode must go on long enough to see it stand"
    assert all((speeds[stamp] == 0).all() for stamp in stamps if stamp > braked)
    states = [m.value.state for m in episode.messages["status"]]
    assert states[-2:] == ["holding", "done"]


def test_without_its_high_level_the_low_one_keeps_the_goal():
    class DeafHigh(PointHigh):
        def decide(self, observation, reachability):
            if self.calls:
                raise RuntimeError("gone")
            return super().decide(observation, reachability)

    with InprocGraph(PointWorld(), DeafHigh(), PointLow(), answer_timeout_s=2.0) as graph:
        episode = graph.play(START, LAUNCH, 3, finish=True)
    assert len(episode.goals) == 1
    assert {plan.goal_id for plan in episode.plans} == {1}
    assert len(episode.commands) == len(directly(3)[0]["commands"])
    assert episode.status["low"].counts["high.silent"] == 1


def test_a_goal_is_planned_for_no_longer_than_it_is_valid():
    class OneGoal(PointHigh):
        def decide(self, observation, reachability):
            return super().decide(observation, reachability) if not self.calls else None

    options = {"clock": "realtime", "goal_valid_ms": 200.0}
    with InprocGraph(PointWorld(ticks=120), OneGoal(), PointLow(), **options) as graph:
        episode = graph.play(START, LAUNCH, 3)
    goal, low = episode.goals[0], episode.status["low"]
    asked = [m.header.answers * TICK_NS for m in episode.messages["command"] if m.header.kind == "command"]
    assert asked, "it was planned for at first"
    assert max(asked) <= goal.start_ns + 200_000_000 + TICK_NS
    assert low.counts["goal.expired"] >= 5
    assert [m.value.state for m in episode.messages["status"]][-2:] == ["holding", "done"]


def test_a_journal_names_every_input_in_order_with_the_clock_as_it_was_read():
    heard = []
    graph = InprocGraph(PointWorld(), PointHigh(), PointLow(), journal=True)
    with graph:
        where = address(graph.config.base, "low-journal")
        tap = Subscriber(where, ("handled",), context=graph.context, conflate=False)
        deadline = time.monotonic() + WAIT_S
        while not graph.status("low").counts["subscribers.low-journal"] and time.monotonic() < deadline:
            time.sleep(0.005)
        episode = graph.play(START, LAUNCH, 3)
        while (message := tap.receive(0.2)) is not None:
            heard.append(message.value)
        tap.close()
    assert {"observation", "goal", "reachability"} <= {entry.source for entry in heard}
    seen = [entry.sequence for entry in heard if entry.source == "observation"]
    assert seen == sorted(set(seen))
    stamps = {m.header.sequence: m.header.stamp_ns for m in episode.messages["observation"]}
    worked = [entry for entry in heard if entry.source == "observation" and len(entry.reads_ns)]
    assert len(worked) > 8
    for entry in worked:  # beside those of a stopwatch, where it planned at once
        assert entry.reads_ns[0] == stamps[entry.sequence]
    asked = [wire.decode(entry.frame.tobytes()).header.kind for entry in heard if entry.source == "reachability"]
    assert asked
    assert set(asked) == {"reach"}


def test_a_level_started_again_says_nothing_before_its_recorder_is_back(tmp_path):
    config = BusConfig(base=f"ipc://{tmp_path}", clock="realtime", journal=True)
    where = address(config.base, "low-journal")
    with LowNode(PointLow(), config) as low:
        assert not low.await_listeners(0.1)  # nobody is there: it goes on
    tap = Subscriber(where, ("handled",), conflate=False)

    def listen():
        for _ in range(100):
            tap.receive(0.01)

    for life in range(2):  # after the first, the tap connects again by itself
        with LowNode(PointLow(), config) as low:
            listening = threading.Thread(target=listen)
            listening.start()
            assert low.await_listeners(WAIT_S)
            low.join(7, 0, 1000 * (life + 1))
            low.journal.tap("goal")(wire.Header("goal", 7, life, 0), b"")
            low.journal.turn()
            listening.join()
            deadline = time.monotonic() + WAIT_S
            while tap.gate.passed <= life and time.monotonic() < deadline:
                tap.receive(0.1)
    assert tap.gate.passed == 2
    tap.close()


def test_what_is_not_finite_never_leaves_a_level():
    class SickHigh(PointHigh):
        def decide(self, observation, reachability):
            goal = super().decide(observation, reachability)
            return goal._replace(embedding=np.full(2, np.nan)) if goal and goal.id == 2 else goal

    class SickLow(PointLow):
        def plan(self, observation, goal):
            command = super().plan(observation, goal)
            return command._replace(q_rad=command.q_rad * np.inf) if self.plans == 4 else command

    world = PointWorld()
    with InprocGraph(world, SickHigh(), SickLow()) as graph:
        episode = graph.play(START, LAUNCH, 3)
    assert episode.status["high"].counts["goal.unsendable.non_finite"] == 1
    assert episode.status["low"].counts["command.unsendable.non_finite"] == 1
    assert [goal.id for goal in episode.goals] == [1, 3, 4, 5, 6, 7]
    assert episode.status["driver"].counts["command.applied"] == len(directly(3)[0]["commands"]) - 1
    assert all(np.isfinite(command.q_rad).all() for command in world.commands)


def test_a_wrong_start_is_refused_in_words_and_the_graph_lives():
    class Picky(PointWorld):
        def reset(self, start, launch, seed):
            if len(start.q_rad) != 2:
                raise ConfigError("start has too many joints; allowed: 2")
            return super().reset(start, launch, seed)

    with InprocGraph(Picky(), PointHigh(), PointLow()) as graph:
        with pytest.raises(LinkError, match="too many joints; allowed: 2"):
            graph.play(RobotState(np.zeros(3), np.zeros(3)), LAUNCH, 3)
        with pytest.raises(LinkError, match="does not answer 'start'"):
            graph.request("driver", "start")
        assert_same(graph.play(START, LAUNCH, 3), directly(3))


# what the driver lets through


class Rig:
    """A driver node in a thread, a publisher in place of the low node, a hand on the controls."""

    def __init__(self, **config):
        self.context = zmq.Context()
        self.config = BusConfig(base="inproc://rig", **config)
        self.world, self.stopped = PointWorld(), threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.commands = Publisher(address(self.config.base, "command"), context=self.context)
        self.thread.start()
        self.control = Requester(address(self.config.base, "driver-control"), context=self.context)
        self.commands.wait_subscribers(1, WAIT_S)

    def _run(self):
        with DriverNode(self.world, self.config, context=self.context) as node:
            node.run(self.stopped.is_set)

    def ask(self, kind, value=None, session=9):
        return self.control.request(kind, value or Empty(), timeout_s=WAIT_S, session=session).value

    def reset(self, session=9):
        self.commands.restart(session)
        return self.ask("reset", Reset(START, LAUNCH, 0), session)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        self.control.close()
        self.commands.close()
        self.context.term()


def command(start_ms, valid_ms=100, samples=11, joints=2, speed=1.0):
    dq = np.full((samples, joints), speed)
    q = np.linspace(0, 0.01 * speed * (samples - 1), samples)[:, None] * np.ones(joints)
    return JointTrajectory(start_ms * 1_000_000, 0.01, q, dq, valid_ms * 1_000_000)


def raw_command(sequence, session=9, value=np.nan):
    scalars = {"start_ns": 0, "dt_s": 0.01, "valid_ns": 10**9}
    header = wire.Header("command", session, sequence, 0, answers=0, scalars=scalars)
    return wire.encode(header, {"q_rad": np.full((3, 2), value), "dq_rad_s": np.zeros((3, 2))})


def test_bad_commands_are_dropped_and_counted_and_the_good_one_among_them_is_applied():
    with Rig() as rig:
        rig.reset()
        good = command(0)
        send = rig.commands.send
        frames = [pack("command", good, session=8, sequence=1, stamp_ns=0)]  # a session that is over
        frames += [raw_command(1), raw_command(2, value=np.inf)]
        wrong_version = bytearray(raw_command(3, value=0.0))
        wrong_version[4] += 1
        frames += [bytes(wrong_version), b"garbage", b"", bytes(wire.MAX_FRAME_BYTES + 1)]
        for frame in frames:
            rig.commands.socket.send(frame)
        send("command", command(0, joints=3), stamp_ns=0)
        send("command", command(-200), stamp_ns=0)  # ran out before now
        send("command", good, stamp_ns=-500, valid_for_ns=499)  # too long under way
        send("command", good, stamp_ns=0, answers=0)
        assert rig.ask("tick", Tick(1)).tick == 1
        counts = rig.ask("get_status").counts
        dropped = {name.removeprefix("dropped.command."): n for name, n in counts.items() if "dropped" in name}
        assert dropped == {
            "old_session": 1,
            "non_finite": 2,
            "version": 1,
            "garbage": 2,
            "size": 1,
            "shape": 1,
            "expired": 2,
        }
        assert counts["command.applied"] == 1
        assert bits(rig.world.commands) == bits([good])


def test_a_reordered_command_is_dropped():
    with Rig(low_period_ticks=1) as rig:
        rig.reset()
        first, second, third = command(0), command(10), command(20)
        old = pack("command", first, session=9, sequence=0, stamp_ns=0, answers=0)
        rig.commands.sequence = 1
        rig.commands.send("command", second, stamp_ns=0, answers=0)
        rig.ask("tick", Tick(1))
        rig.commands.socket.send(old)  # by its sequence
        rig.commands.send("command", command(5), stamp_ns=0, answers=0)  # by its start
        rig.commands.send("command", third, stamp_ns=0, answers=1)
        rig.ask("tick", Tick(1))
        assert rig.ask("get_status").counts["dropped.command.reordered"] == 2
        assert bits(rig.world.commands) == bits([second, third])


def test_a_reset_forgets_the_last_episodes_commands():
    with Rig() as rig:
        rig.reset(session=9)
        rig.commands.send("command", command(0), stamp_ns=0, answers=0)
        rig.ask("tick", Tick(2))
        rig.commands.send("command", command(0), stamp_ns=0, answers=0)  # too late: meant for the episode before
        rig.reset(session=10)
        rig.commands.send("pass", Empty(), stamp_ns=0, answers=0)
        rig.ask("tick", Tick(1))
        assert rig.world.commands == []
        assert rig.ask("get_status").counts["dropped.command.old_session"] == 1


def test_a_silent_low_node_is_waited_for_once():
    with Rig(low_period_ticks=1, answer_timeout_s=0.2) as rig:
        rig.reset()
        started = time.monotonic()
        assert rig.ask("tick", Tick(50)).tick == 50
        assert 0.2 <= time.monotonic() - started < 0.2 * 45  # waited for at every tick: 10 s
        assert rig.ask("get_status").counts["low.silent"] == 1


def test_the_driver_holds_and_closes_when_it_is_stopped():
    with Rig() as rig:
        rig.reset()
        assert rig.world.connected and not rig.world.held
    assert rig.world.held and not rig.world.connected


# real time


def test_in_real_time_nobody_waits():
    started = time.monotonic()
    with InprocGraph(PointWorld(), PointHigh(decide_s=0.15), PointLow(), clock="realtime") as graph:
        episode = graph.play(START, LAUNCH, 3)
    seconds = time.monotonic() - started
    assert seconds >= 0.8, "80 ticks of 10 ms"
    driver = episode.status["driver"].counts
    assert len(episode.observations) == 81
    assert driver["deadline.missed"] >= 0 and driver["command.applied"] >= 1  # of some 8: a busy machine loses some
    assert len(episode.goals) < len(directly(3)[0]["goals"]), "a slow high level sees fewer observations"
    stamps = [m.header.stamp_ns for m in episode.messages["observation"]]
    assert stamps[-1] - stamps[0] >= 79 * TICK_NS, "messages carry monotonic time"


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGSTOP])
def test_a_killed_low_process_leaves_a_robot_that_brakes_and_holds(kill):
    with ProcessGraph(specs(driver={"ticks": 150}), clock="realtime") as graph:
        low = graph.processes["low"].pid

        def listener(topic, message):
            if topic == "command" and message.header.sequence == 3:
                os.kill(low, kill)

        episode = graph.play(START, LAUNCH, 3, listener=listener, finish=True)
        os.kill(low, signal.SIGCONT) if kill == signal.SIGSTOP else None
        assert "low" not in episode.status
        assert episode.status["driver"].counts["expired.in_force"] >= 1
        assert len(episode.commands) < 20, "of 35 that a living one sends"
        assert_stops(episode)


def test_a_latched_hold_needs_a_deliberate_rearm():
    with Rig(clock="realtime", latch=True) as rig:
        rig.world.ticks = 10**9
        rig.reset()
        with pytest.raises(LinkError, match="does not answer 'tick'"):
            rig.ask("tick", Tick(1))
        rig.ask("start")

        def send(answer):
            now = rig.ask("get_status").sequence * 10
            rig.commands.send("command", command(now, valid_ms=2000), stamp_ns=time.monotonic_ns(), answers=answer)

        def until(condition):
            deadline = time.monotonic() + WAIT_S
            while not condition(status := rig.ask("get_status")) and time.monotonic() < deadline:
                time.sleep(0.005)
            assert condition(status), status

        send(0)
        until(lambda status: status.state == "holding")
        assert rig.world.held
        with pytest.raises(LinkError, match="0 fresh commands .* needs 5 in a row"):
            rig.ask("arm")
        for answer in range(1, 6):
            send(answer)
            until(lambda status, n=answer: status.counts.get("command.disarmed") == n)
        assert rig.world.held
        rig.ask("arm")
        send(6)
        until(lambda status: status.counts["command.applied"] == 2)
        until(lambda status: status.state == "holding")


# processes: mistakes and clean ends


def test_a_factory_that_cannot_be_found_is_said_in_one_line(capfd):
    broken = specs() | {"low": NodeSpec("hjepa.bus.fake:NoSuchLow")}
    with pytest.raises(NodeDied, match="node low ended with exit code 2") as caught, ProcessGraph(broken) as graph:
        graph.play(START, LAUNCH, 3)
    assert caught.value.exit_code == 2
    said = capfd.readouterr().err
    assert "hjepa node low: factory 'hjepa.bus.fake:NoSuchLow' cannot be found" in said
    assert "Traceback" not in said


def test_the_exit_code_of_the_culprit_is_reported(capfd):
    died = pytest.raises(NodeDied, match="node low ended with exit code 1")
    with died as caught, ProcessGraph(specs(low={"die_at": 2})) as graph:
        graph.play(START, LAUNCH, 3)
    assert caught.value.exit_code == 1
    assert "toy level told to die" in capfd.readouterr().err
    assert not any(process.is_alive() for process in graph.processes.values())


def test_factories_take_json_arguments():
    assert build("hjepa.bus.fake:PointWorld", {"ticks": 5}).ticks == 5
    for wrong in ("hjepa.bus.fake", "no.such:thing", ":x", "hjepa.bus.fake:"):
        with pytest.raises(ConfigError, match="allowed: module:function"):
            build(wrong, {})


def test_a_graph_lacking_a_node_is_refused_before_anything_starts():
    with pytest.raises(ConfigError, match="each of these is needed: driver, high, low"):
        ProcessGraph({"driver": NodeSpec("hjepa.bus.fake:PointWorld")})
    with pytest.raises(ConfigError, match="multiple"):
        BusConfig(base="inproc://x", low_period_ticks=4, high_period_ticks=6)


SCRIPT = """
    import sys, time
    from tests.integration.test_bus_nodes import LAUNCH, START, specs
    from hjepa.bus.processes import ProcessGraph
    if __name__ == "__main__":
        with ProcessGraph(specs(driver={"ticks": 10**6}), clock="realtime") as graph:
            for process in graph.processes.values():
                print(process.pid, flush=True)
            print("ready", flush=True)
            graph.play(START, LAUNCH, 3)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind_when_the_conductor_is_interrupted_or_killed(how, tmp_path):
    script = tmp_path / "conduct.py"
    # a test run in the background hands down an ignored SIGINT; a terminal does not
    heed = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script.write_text(heed + textwrap.dedent(SCRIPT))
    folder = tmp_path / "t"
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    conductor = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
    )
    lines = [conductor.stdout.readline().strip() for _ in range(len(NODES) + 1)]
    assert lines[-1] == "ready", conductor.stderr.read()
    assert list(folder.glob("hjepa-*")), "the sockets' folder"
    if how == signal.SIGINT:
        os.killpg(conductor.pid, how)  # as the terminal does
    else:
        conductor.kill()
    conductor.wait(WAIT_S)
    deadline = time.monotonic() + WAIT_S
    pids = [int(line) for line in lines[:-1]]
    while (any(map(running, pids)) or list(folder.glob("hjepa-*"))) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = [pid for pid in pids if running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
    assert not list(folder.glob("hjepa-*"))
    if how == signal.SIGINT:
        said = conductor.stderr.read()
        assert Counter(said.split())["KeyboardInterrupt"] == 1, "the conductor's own, and no node's"


def running(pid):
    """True while a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
