"""Round trips of this bus beside other transports, in one run, one after the other.

    pip install grpcio portal eclipse-zenoh     # the peers; whichever is missing is left out
    python tests/benchmarks/bench_transports.py --count 3000 --rounds 3 --json runs/bench/transports.json

256 bytes: a command with its MAC, packed, checked and unpacked on both sides; 1 MB: a typed record without a MAC (MACs
guard commands). Every echo runs in a process of its own on the same machine. Quoted is the median over rounds of each
round's percentile, and its ratio to bare zmq PAIR of the same round.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import pickle
import queue
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import zmq

from hjepa.bus.link import Publisher, Subscriber
from hjepa.bus.messages import pack
from hjepa.bus.topics import Record
from hjepa.types import JointTrajectory

KEY = bytes(range(32))
COMMAND = JointTrajectory(0, 0.01, np.zeros((1, 8)), np.zeros((1, 8)), 10**8)
SIZES = {"256 B": ("command", COMMAND, KEY), "1 MB": ("record", Record({"x": np.zeros(2**17)}, ""), None)}
WAIT_S = 20.0
Once = Callable[[], None]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def echo(name: str, where: str, size: str) -> None:
    """The other process."""
    context: zmq.Context[Any] = zmq.Context.instance()
    if name == "zmq PAIR":
        pair = context.socket(zmq.PAIR)
        pair.connect(f"ipc://{where}/there")
        while True:
            pair.send(pair.recv())
    elif name == "hjepa":
        kind, _, key = SIZES[size]
        back = Publisher(f"ipc://{where}/back", key=key)
        there = Subscriber(f"ipc://{where}/there", (kind,), conflate=False, key=key)
        while True:
            message = there.receive(WAIT_S)
            if message is not None:
                back.send(kind, message.value, stamp_ns=0)
    elif name == "pickle REQ/REP":
        rep = context.socket(zmq.REP)
        rep.bind(f"tcp://127.0.0.1:{where}")
        while True:
            rep.send(pickle.dumps(pickle.loads(rep.recv())))  # noqa: S301  the rival's way, with our own bytes
    elif name == "gRPC":
        import grpc

        method = grpc.unary_unary_rpc_method_handler(lambda request, _: request)
        server = grpc.server(ThreadPoolExecutor(1), options=_GRPC)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("echo", {"it": method}),))
        server.add_insecure_port(f"127.0.0.1:{where}")
        server.start()
        server.wait_for_termination()
    elif name == "portal":
        import portal

        server = portal.Server(int(where))
        server.bind("it", lambda x: x)
        server.start()
    elif name == "zenoh":
        import zenoh

        session = zenoh.open(_zenoh("listen", where))
        back_to = session.declare_publisher("back")
        session.declare_subscriber("there", lambda sample: back_to.put(sample.payload))
        time.sleep(3600)


_GRPC = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def _zenoh(mode: str, port: str) -> Any:
    import zenoh

    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5(f"{mode}/endpoints", f'["tcp/127.0.0.1:{port}"]')
    return config


def client(name: str, where: str, size: str) -> tuple[Once, Callable[[], None]]:
    """One round trip, and how to close."""
    kind, value, key = SIZES[size]
    context: zmq.Context[Any] = zmq.Context.instance()
    payload = bytes(pack(kind, value, session=0, sequence=0, stamp_ns=0, key=key))
    if name == "zmq PAIR":
        pair = context.socket(zmq.PAIR)
        pair.bind(f"ipc://{where}/there")
        return lambda: (pair.send(payload), pair.recv())[0], lambda: pair.close(linger=0)
    if name == "hjepa":
        publisher = Publisher(f"ipc://{where}/there", key=key)
        subscriber = Subscriber(f"ipc://{where}/back", (kind,), conflate=False, key=key)

        def once() -> None:
            publisher.send(kind, value, stamp_ns=0)
            if subscriber.receive(WAIT_S) is None:
                raise RuntimeError("the echo is silent")

        publisher.wait_subscribers(1, WAIT_S)
        time.sleep(0.5)  # until the echo's own publisher is heard
        return once, lambda: (publisher.close(), subscriber.close())[0]
    if name == "pickle REQ/REP":
        req = context.socket(zmq.REQ)
        req.connect(f"tcp://127.0.0.1:{where}")
        return lambda: pickle.loads((req.send(pickle.dumps(value)), req.recv())[1]), lambda: req.close(linger=0)  # noqa: S301
    if name == "gRPC":
        import grpc

        channel = grpc.insecure_channel(f"127.0.0.1:{where}", options=_GRPC)
        call = channel.unary_unary("/echo/it")
        grpc.channel_ready_future(channel).result(WAIT_S)
        return lambda: call(payload), channel.close
    if name == "portal":
        import portal

        client = portal.Client(f"127.0.0.1:{where}")
        array = np.frombuffer(payload, np.uint8)
        return lambda: client.it(array).result(), client.close
    import zenoh

    session = zenoh.open(_zenoh("connect", where))
    there: Any = session.declare_publisher("there")
    heard: queue.Queue[Any] = queue.Queue()
    session.declare_subscriber("back", lambda sample: heard.put(sample.payload))
    time.sleep(1.0)
    return lambda: (there.put(payload), heard.get(timeout=WAIT_S))[0], session.close


def needs(name: str) -> str:
    return {"gRPC": "grpc", "portal": "portal", "zenoh": "zenoh"}.get(name, "zmq")


def round_trips(name: str, size: str, count: int) -> np.ndarray:
    """(count,) in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        where = folder if name in ("zmq PAIR", "hjepa") else str(free_port())
        process = multiprocessing.get_context("spawn").Process(target=echo, args=(name, where, size), daemon=True)
        process.start()
        once, close = client(name, where, size)
        try:
            for _ in range(50):
                once()
            times = np.empty(count)
            for i in range(count):
                begun = time.perf_counter_ns()
                once()
                times[i] = (time.perf_counter_ns() - begun) / 1e3
            return times
        finally:
            process.kill()
            process.join()
            close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=None)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = ["zmq PAIR", "hjepa", "pickle REQ/REP", "gRPC", "portal", "zenoh"]
    names = [n for n in names if importlib.util.find_spec(needs(n)) and (options.only is None or n in options.only)]
    rows = []
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n{'':24s}  p50 us   p99 us  p50 / PAIR")
    for size in SIZES:
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
        for _ in range(options.rounds):
            bare = 0.0
            for name in names:
                count = options.count if size == "256 B" else options.count // 10
                p50, p99 = np.percentile(round_trips(name, size, count), [50, 99])
                bare = p50 if name == "zmq PAIR" else bare
                found[name].append((float(p50), float(p99), float(p50 / bare)))
        for name, rounds in found.items():
            p50, p99, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"{size:6s} {name:16s} {p50:8.0f} {p99:8.0f} {ratio:8.2f}", flush=True)
            rows.append({"size": size, "transport": name, "p50_us": p50, "p99_us": p99, "ratio": ratio})
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"load": os.getloadavg(), "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
