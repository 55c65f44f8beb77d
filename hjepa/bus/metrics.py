"""A graph's health (JSON) and metrics (Prometheus) over HTTP, for this machine alone. Needs the extra `metrics`."""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from hjepa.bus.topics import Status
from hjepa.bus.watch import Seen, Watch, health
from hjepa.errors import ConfigError, LinkError

STATES = ("idle", "ready", "disarmed", "running", "holding", "stopped", "done")
_QUANTILES = (0.5, 0.99)
_CLIENT_S = 5.0  # one that is silent for so long is cut off
_EXACT = 2**53  # metrics are doubles; sessions are longer, and differ in their last bits
_LATEST_US, _SUBSCRIBERS = "late_us.max", "subscribers."  # of a status's counts, those that are no counters
_GRADE, _PPM = "surprise.grade", "surprise.p_ppm"  # likewise


def parse_listen(text: str) -> tuple[str, int]:
    """HOST:PORT of an address that only this machine reaches; ConfigError for any other. Port 0: a free one."""
    host, _, port = text.rpartition(":")
    name = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        local = ipaddress.ip_address(name).is_loopback
    except ValueError:
        local = False
    if not local or not port.isdecimal() or int(port) > 0xFFFF:
        raise ConfigError(
            f"--listen {text}: allowed: 127.0.0.1:PORT, [::1]:PORT; others fetch it through a proxy or ssh"
        )
    return name, int(port)


class GraphCollector(Collector):
    """What a graph's nodes say of themselves, as metrics."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """One look at the graph."""
        seen = self._watch.look()
        up = GaugeMetricFamily("hjepa_node_up", "Whether the node answers.", labels=["node"])
        for name, status in seen.status.items():
            up.add_metric([name], status is not None)
        yield up
        answering = {name: status for name, status in seen.status.items() if status is not None}
        yield from _states(answering)
        yield from _counts(answering)
        yield from _decisions(answering)
        restarts = CounterMetricFamily("hjepa_restarts", "How often the supervisor started it again.", labels=["node"])
        for name, count in seen.restarts.items():
            restarts.add_metric([name], count)
        yield restarts


def _states(found: dict[str, Status]) -> Iterator[Metric]:
    state = GaugeMetricFamily("hjepa_node_state", "1 for the state that the node is in.", labels=["node", "state"])
    session = GaugeMetricFamily("hjepa_node_session", "Session, its last 53 bits.", labels=["node"])
    sequence = GaugeMetricFamily("hjepa_node_sequence", "Its last observation in this session.", labels=["node"])
    for name, status in found.items():
        for known in dict.fromkeys((*STATES, status.state)):
            state.add_metric([name, known], known == status.state)
        session.add_metric([name], status.session % _EXACT)
        sequence.add_metric([name], status.sequence)
    yield from (state, session, sequence)


def _counts(found: dict[str, Status]) -> Iterator[Metric]:
    text = "Messages sent, dropped by reason, deadlines missed and so on, in this session."
    counts = CounterMetricFamily("hjepa_count", text, labels=["node", "name"])
    subscribers = GaugeMetricFamily("hjepa_subscribers", "Who listens to a topic now.", labels=["node", "topic"])
    late = GaugeMetricFamily("hjepa_tick_late_max_seconds", "The latest tick of the driver's loop.", labels=["node"])
    text = "What the level does about surprise: 0 nothing, 1 re-plan, 2 mode 1, 3 abandon, 4 hold."
    grade = GaugeMetricFamily("hjepa_surprise_grade", text, labels=["node"])
    text = "Share of normal strokes in which surprise ever gets as high as at the latest look."
    likely = GaugeMetricFamily("hjepa_surprise_p", text, labels=["node"])
    for node, status in found.items():
        for name, count in sorted(status.counts.items()):
            if name.startswith(_SUBSCRIBERS):
                subscribers.add_metric([node, name.removeprefix(_SUBSCRIBERS)], count)
            elif name == _LATEST_US:
                late.add_metric([node], count / 1e6)
            elif name == _GRADE:
                grade.add_metric([node], count)
            elif name == _PPM:
                likely.add_metric([node], count / 1e6)
            else:
                counts.add_metric([node, name], count)
    yield from (counts, subscribers, late, grade, likely)


def _decisions(found: dict[str, Status]) -> Iterator[Metric]:
    name, text = "hjepa_decision_seconds", "Wall time of a decision, over the latest 10,000 of this session"
    times = SummaryMetricFamily(name, f"{text}.", labels=["node"])
    longest = GaugeMetricFamily("hjepa_decision_max_seconds", f"{text}: the longest.", labels=["node"])
    for node, status in found.items():
        if not len(status.wall_ms):
            continue
        seconds = status.wall_ms / 1e3
        for quantile, value in zip(_QUANTILES, np.quantile(seconds, _QUANTILES), strict=True):
            times.add_sample(name, {"node": node, "quantile": str(quantile)}, float(value))
        times.add_sample(f"{name}_count", {"node": node}, status.counts.get("decided", len(seconds)))
        longest.add_metric([node], float(seconds.max()))
    yield from (times, longest)


class MetricsServer(ThreadingHTTPServer):
    """Serves /metrics and /health until shut down. LinkError when the address cannot be used."""

    daemon_threads = True

    def __init__(self, watch: Watch, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.watch, self.registry = watch, CollectorRegistry(auto_describe=False)
        self.registry.register(GraphCollector(watch))
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise LinkError(
                f"--listen {host}:{port}: {error.strerror}; give another port, or 0 for a free one"
            ) from error

    @property
    def url(self) -> str:
        """Where it is."""
        host, port = str(self.server_address[0]), self.server_address[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = _CLIENT_S

    def do_GET(self) -> None:  # noqa: N802 - the library's name
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content = choose_encoder(self.headers.get("Accept", ""))
            self._answer(HTTPStatus.OK, content, encode(self.server.registry))
        elif path == "/health":
            seen: Seen = self.server.watch.look()
            code = HTTPStatus.OK if seen.ok else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(code, "application/json", json.dumps(health(seen)).encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"here: /metrics, /health\n")

    def _answer(self, code: HTTPStatus, content: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: a scrape every few seconds is no event."""
