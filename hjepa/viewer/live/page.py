"""The page: a server on loopback, a scene, a panel, and the loop that keeps them at a source's pace."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO

import viser

from hjepa.errors import ConfigError
from hjepa.types import RobotSpec
from hjepa.viewer.live.panel import Panel
from hjepa.viewer.live.source import Source
from hjepa.viewer.live.stage import Stage

HOST = "127.0.0.1"
FRAME_S = 1 / 25
FIGURES_S = 0.25  # how often the panel's figures are written
WEIGHTS_S = 1.0  # how often the sliders look at what weighs in the levels


class Page:
    """Serves until closed."""

    def __init__(self, source: Source, spec: RobotSpec, description: str, port: int) -> None:
        """description: the robot's URDF. ConfigError where the port is taken."""
        with redirect_stdout(StringIO()):  # its banner: the caller says where the page is
            self._server = viser.ViserServer(HOST, port, label="hjepa view", verbose=False)
        self.port = self._server.get_port()
        if port and self.port != port:
            self.close()
            raise ConfigError(f"--port {port}: taken; allowed: a free one, such as {self.port}")
        self._source = source
        self._stage = Stage(self._server, spec, description)
        self._panel = Panel(self._server, source, self._stage)

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.port}"

    def run(self, stop: Callable[[], bool], frame_s: float = FRAME_S) -> None:
        """Show until told to stop, a frame every so many seconds."""
        figures_s = weighed_s = 0.0
        while not stop():
            begun_s = time.monotonic()
            now = self._source.frame()
            with self._server.atomic():
                self._stage.show(now)
                if begun_s - figures_s >= FIGURES_S:
                    figures_s = begun_s
                    self._panel.write(now)
            if begun_s - weighed_s >= WEIGHTS_S:
                weighed_s = begun_s
                self._panel.show_weights()
            time.sleep(max(0.0, frame_s - (time.monotonic() - begun_s)))

    def close(self) -> None:
        """Stop serving."""
        with redirect_stdout(StringIO()):
            self._server.stop()
