"""Makes a bundle from a configuration: weights, compiled programs, golden pairs, manifest, signature."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hjepa import __version__, build
from hjepa import config as settings
from hjepa.benches.host import versions
from hjepa.config import Config
from hjepa.deploy import bundle as bundles
from hjepa.deploy import compiled, goldens, signing
from hjepa.errors import BundleError
from hjepa.models.layers import for_search
from hjepa.planning.held import limits_of
from robots.spec import load_spec

WEIGHTS = ("low", "high")


def make(
    config: Config,
    out: Path,
    *,
    device: str = "cpu",
    compile_programs: bool = True,
    key: Path | None = None,
    force: bool = False,
    progress: compiled.Progress | None = None,
) -> bundles.Manifest:
    """Build and sign a bundle; whole or not at all.

    compile_programs: False: the controller records them (TorchScript) when it starts; slower, and no compiler needed.
    """
    where, secret = bundles.check_device(device), key or signing.own_key()
    signing.sign(b"", secret)  # a key that cannot sign is found before the compiler has worked for minutes
    machine, spec = bundles.here(where), load_spec(config.robot.name)
    if not build.two_levels(config) or config.high.feint:
        raise BundleError(
            f"agent '{config.agent.name}'{' with feints' if config.high.feint else ''} cannot be bundled; allowed: "
            f"{', '.join(build.HIERARCHICAL)}, levels.count 2, high.feint false"
        )
    out = out.absolute()
    bundles.check_free(out, force)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    manifest = bundles.Manifest(
        bundles.FORMAT, __version__, versions(), commit(), now, spec.identity, machine,
        "compiled" if compile_programs else "recorded", {},
    )  # fmt: skip
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".part", dir=out.parent) as beside:
            part = Path(beside) / out.name
            write(config, part, where)
            if compile_programs:
                compiled.compile_all(low_programs(config, where), part / "programs", progress)
            sealed = bundles.seal(part, manifest, secret)
            if out.exists():
                out.replace(Path(beside) / "old")
            part.replace(out)
    except OSError as error:
        raise BundleError(f"cannot write '{out}': {error.strerror}") from error
    return sealed


def write(config: Config, folder: Path, device: str) -> None:
    """All of a bundle but programs, manifest and signature, into a new folder."""
    spec = load_spec(config.robot.name)
    levels = build.build_high(config, config.agent.name), build.build_low(config, spec, config.agent.name)
    (folder / bundles.WEIGHTS).mkdir(parents=True)
    for name in WEIGHTS:
        shutil.copyfile(build.weights_path(config, name), folder / bundles.WEIGHTS / build.FILES[name])
    own = config.model_copy(update={"agent": config.agent.model_copy(update={"weights": ""})})
    (folder / bundles.CONFIG).write_text(settings.dump(own), encoding="utf-8")
    (folder / "robot.json").write_text(json.dumps(spec.identity), encoding="utf-8")
    (folder / "goldens").mkdir()
    for name, data in goldens.draw(low_programs(config, device)).items():
        (folder / "goldens" / f"{name}.safetensors").write_bytes(data)
    (folder / "goldens" / "decisions.safetensors").write_bytes(goldens.decisions(*levels, spec))


def low_programs(config: Config, device: str) -> Mapping[str, compiled.Program]:
    """What the configuration's low level computes, on a device, not compiled yet."""
    spec = load_spec(config.robot.name)
    level: Any = for_search(build.low_bundle(config, spec).level).to(torch.device(device))
    limits = limits_of(spec, level.codec.low.device)
    return compiled.programs(level, limits, spec.joints, build.own_body(config, spec, device))


def commit() -> str:
    """Of the checkout that this package lies in; empty elsewhere."""
    root = Path(__file__).parent.parent.parent
    if not (root / ".git").exists():
        return ""
    done = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
