"""Where a picture or a report comes from: version, commit, configuration, weights, machine."""

from __future__ import annotations

import platform
from pathlib import Path

from hjepa import __version__, build
from hjepa.benches import host
from hjepa.bus.logfile import sha256
from hjepa.config import Config

LEVELS = ("high", "low", "rally")
SHORT = 8  # hex digits of a hash in small print


def weights(config: Config) -> dict[str, str]:
    """SHA-256 of the levels' files that are there."""
    paths = {name: build.weights_path(config, name) for name in LEVELS}
    return {name: sha256(path) for name, path in paths.items() if path.exists()}


def small_print(config: Config, name: str) -> str:
    """A line for the foot of a picture; name: the configuration's, or a file's."""
    hashes = ", ".join(f"{level} {digest[:SHORT]}" for level, digest in weights(config).items())
    robot, c = config.robot.name, config
    parts = (f"hjepa {__version__}", f"commit {host.commit()}", f"{Path(name).name}, {robot}, agent {c.agent.name}")
    return "; ".join((*parts, f"seed {c.task.seed}", f"weights {hashes}"))


def machine() -> str:
    """Processor and system."""
    return f"{host.processor()}, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
