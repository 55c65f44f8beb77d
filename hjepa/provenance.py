"""What a recording says of where it comes from, and whether what lies here is still the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from hjepa import build, factories
from hjepa import config as settings
from hjepa.benches.host import versions
from hjepa.bus.logfile import About, Log, sha256
from hjepa.bus.node import BusConfig
from hjepa.bus.processes import NodeSpec
from hjepa.bus.processes import build as build_object
from hjepa.config import Config
from hjepa.errors import DataError, WeightsError

NOT_KEPT = (
    "base",
    "hosts",
    "keys",
    "journal",
)  # of a graph: where it was, what was secret, and what a replay has no use for
LEVELS = ("low", "high")


def about_of(config: Config, bus: BusConfig, specs: Mapping[str, NodeSpec] | None = None) -> About:
    """What to keep of a configuration and of its graph, hashes of the weights included.

    specs: how each node is built; None: as the configuration says.
    """
    kept = {name: value for name, value in msgspec.to_builtins(bus).items() if name not in NOT_KEPT}
    return About(
        settings.dump(config),
        {"task": config.task.seed},
        {name: sha256(path) for name in LEVELS if (path := build.weights_path(config, name)).exists()},
        versions(),
        {name: msgspec.to_builtins(spec) for name, spec in (specs or factories.node_specs(config)).items()},
        kept,
    )


def about_entry(entry: Mapping[str, Any]) -> About:
    """The same of a launched graph, from the entry that it leaves for tools; empty where that says too little."""
    if not {"config", "bus", "specs"} <= set(entry):
        return About(versions=versions())
    bus = BusConfig(**{"base": "", **entry["bus"]})
    specs = {name: NodeSpec(**spec) for name, spec in entry["specs"].items()}
    if entry["config"]:
        return about_of(Config.model_validate_json(entry["config"]), bus, specs)
    kept = {name: value for name, value in entry["bus"].items() if name not in NOT_KEPT}
    return About("", {}, {}, versions(), {name: msgspec.to_builtins(spec) for name, spec in specs.items()}, kept)


def rebuild(log: Log, node: str) -> Any:
    """The object that a node of a recording wraps; WeightsError unless the weights here are those it was made with."""
    spec = log.about.nodes.get(node)
    if spec is None:
        known = ", ".join(log.about.nodes) or "none"
        raise DataError(f"{log.path}: it does not say how node '{node}' is built; nodes it tells of: {known}")
    made = NodeSpec(**spec)
    if "config" in made.args:
        _check_weights(log, Config.model_validate_json(made.args["config"]))
    return build_object(made.factory, made.args)


def _check_weights(log: Log, config: Config) -> None:
    for name, wanted in log.about.weights.items():
        path: Path = build.weights_path(config, name)
        got = sha256(path) if path.exists() else "no file"
        if got != wanted:
            raise WeightsError(
                f"'{path}' is {got[:12]} (SHA-256), {log.path} was recorded with {wanted[:12]}: put those weights there"
            )
