"""Where a picture or a report comes from: version, commit, configuration, weights, machine."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hjepa import __version__, build
from hjepa.benches import host
from hjepa.config import Config

if TYPE_CHECKING:
    from hjepa.bus.logfile import About

SHORT = 8  # hex digits of a hash in small print


def levels(config: Config) -> tuple[str, ...]:
    """Weights that the configured agent plays with."""
    name = config.agent.name
    return ("high", "low") if name in build.LEARNED else (name,) if name in build.FILES else ()


def weights(config: Config, names: Sequence[str]) -> dict[str, str]:
    """SHA-256 of the levels' files, of those that are there."""
    paths = {name: build.weights_path(config, name) for name in names}
    return {name: _sha256(path) for name, path in paths.items() if path.exists()}


def small_print(config: Config, name: str, names: Sequence[str] | None = None) -> str:
    """A line for the foot of a picture; name: the configuration's. names: weights it shows; None: the agent's."""
    hashes = weights(config, levels(config) if names is None else names)
    what = f"{Path(name).name}, {config.robot.name}, agent {config.agent.name}"
    return "; ".join((drawn(), what, f"seed {config.task.seed}", *_short(hashes)))


def of_file(path: Path) -> str:
    """The same for strokes of an earlier run, which say nothing of where they come from."""
    return f"{drawn()}; strokes of {path.name}, SHA-256 {_sha256(path)[:SHORT]}"


def of_recording(path: Path, about: About) -> str:
    """The same for a recording."""
    made = f"recorded by hjepa {about.versions['hjepa']}" if "hjepa" in about.versions else "of unknown origin"
    seeds = [f"seed {seed}" for seed in about.seeds.values()]
    return "; ".join((drawn(), f"{path.name}, {made}", *seeds, *_short(about.weights)))


def drawn() -> str:
    """Who drew it."""
    return f"hjepa {__version__}, commit {host.commit()}"


def _short(hashes: Mapping[str, str]) -> list[str]:
    return ["weights " + ", ".join(f"{name} {digest[:SHORT]}" for name, digest in hashes.items())] if hashes else []


def machine() -> str:
    """Processor and system."""
    return f"{host.processor()}, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def _sha256(path: Path) -> str:
    """Hash of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
