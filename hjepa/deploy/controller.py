"""The controller's side of a bundle: check it, bring its two levels to life, rehearse, and ask for real time.

A bundle's levels are nodes like any others: `graph_of` puts their factories into a process graph, and each node's
process opens the bundle for itself. Nothing of a bundle runs before its signature and hashes were checked, and nothing
is published before its golden pairs agree.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hjepa.bus.processes import NodeSpec
from hjepa.config import Config
from hjepa.config import load as load_config
from hjepa.deploy import bundle as bundles
from hjepa.deploy.realtime import RealtimeConfig, prepare
from hjepa.errors import BundleError, ConfigError
from hjepa.launching import graph as graphs
from robots.spec import load_spec

if TYPE_CHECKING:
    from hjepa.deploy.goldens import Compared
    from hjepa.planning.hierarchy import HighPlanner
    from hjepa.planning.stroke_planner import StrokePlanner

LEVELS = ("high", "low")
FIFO = 40  # below the kernel threads that handle interrupts (50)
OPEN = ("graph.", "task.", "world.")  # overrides that leave alone what was built, signed and rehearsed


def config_of(unpacked: Path, clock: str = "lockstep") -> Config:
    """A bundle's configuration, with the weights that it carries."""
    return load_config(unpacked / bundles.CONFIG, [f"run.clock={clock}", *_weights(unpacked)])


def _weights(folder: Path) -> list[str]:
    return [f"agent.weights={json.dumps(str(folder / bundles.WEIGHTS))}"]


def specs_of(folder: Path, sets: Sequence[str], trusted: Sequence[Path] = ()) -> tuple[dict[str, NodeSpec], Config]:
    """How both levels of a bundle are made for a graph in real time, and the configuration of what is around them."""
    _check_open(sets)
    bundle = bundles.opened(folder, trusted)
    args = {"bundle": str(folder.resolve()), "trusted": [str(path.resolve()) for path in trusted], "clock": "realtime"}
    specs = {level: NodeSpec(f"hjepa.deploy.controller:make_{level}", args) for level in LEVELS}
    with bundle.unpacked() as unpacked:
        return specs, load_config(unpacked / bundles.CONFIG, [*sets, "run.clock=realtime", *_weights(folder.resolve())])


def graph_of(
    folder: Path, graph: str, trusted: Sequence[Path], sets: Sequence[str], realtime: bool, gpu: bool = False
) -> graphs.Plan:
    """A process graph whose levels come from a bundle; what else it configures is the bundle's too.

    gpu: look at the GPU as well, which else its nodes do when they start.
    """
    _check_open(sets)
    bundle, place = bundles.opened(folder, trusted, gpu), folder.resolve()
    with bundle.unpacked() as unpacked:
        changes = [*sets, f"graph.config={json.dumps(str(unpacked / bundles.CONFIG))}", *_weights(place)]
        own = graphs.load(graph, changes).graph
        _check_open(own.set)
        roles = {name: node.role for name, node in own.nodes.items() if node.role in LEVELS}
        if set(roles.values()) != set(LEVELS):
            raise ConfigError(f"graph '{graph}': no high and low level; allowed: one with both, as badminton_hosts")
        trust = [str(path.resolve()) for path in trusted]
        args = {"bundle": str(place), "trusted": trust, "clock": own.clock, "realtime": realtime}
        for name, role in roles.items():
            changes += [f"graph.nodes.{name}.factory=hjepa.deploy.controller:make_{role}"]
            changes += [f"graph.nodes.{name}.args={json.dumps(args)}"]
        plan = graphs.load(graph, changes)
    bundles.check_robot(bundle, load_spec(plan.config.robot.name))
    return plan


def _check_open(sets: Sequence[str]) -> None:
    for text in sets:
        if not text.startswith(OPEN):
            allowed = ", ".join(f"{prefix}*" for prefix in OPEN)
            raise ConfigError(f"{text}: a bundle's levels stay as built; what may be set: {allowed}")


def bring_up_high(bundle: bundles.Bundle) -> tuple[HighPlanner, list[Compared]]:
    """The high level, warmed up by its golden decisions, and how these compare (goldens.check judges)."""
    from hjepa import build
    from hjepa.deploy import goldens

    build.use_one_thread()
    with bundle.unpacked() as unpacked:
        config = config_of(unpacked)
        spec = load_spec(config.robot.name)
        bundles.check_robot(bundle, spec)
        high = build.build_high(config, config.agent.name)
    compared = goldens.replay_high(_decisions(bundle), high, spec)
    high.reset()
    return high, compared


def bring_up_low(bundle: bundles.Bundle, clock: str = "lockstep") -> tuple[StrokePlanner, list[Compared]]:
    """The low level with the bundle's programs; otherwise as `bring_up_high`."""
    from hjepa import build
    from hjepa.deploy import compiled, goldens

    build.use_one_thread()
    device, packages, pairs = bundle.manifest.machine.device, bundle.part("programs"), bundle.part("goldens")
    with bundle.unpacked() as unpacked:
        config = config_of(unpacked, clock)
        spec = load_spec(config.robot.name)
        bundles.check_robot(bundle, spec)
        functions = compiled.opened(packages, unpacked)
        compared = goldens.replay(pairs, functions, device)
        programs = compiled.as_programs(functions) if packages else None
        low = build.build_low(config, spec, config.agent.name, programs, device)
    timed = low.config
    low.config = replace(timed, budget_s=None)  # a rehearsal decides the same however long it takes
    compared += goldens.replay_low(_decisions(bundle), low, spec)
    low.config = timed
    low.reset()
    return low, compared


def _decisions(bundle: bundles.Bundle) -> bytes:
    try:
        return bundle.data["goldens/decisions.safetensors"]
    except KeyError as error:
        raise BundleError(f"{bundle.folder}: no golden pair for the decisions") from error


def make_high(bundle: str, trusted: Sequence[str] = (), clock: str = "lockstep", realtime: bool = False) -> HighPlanner:
    """The high level's node; clock: that of the graph, which the low level's deadline depends on."""
    began = time.monotonic()
    _import_levels()
    high, compared = bring_up_high(_opened(bundle, trusted))
    _ready(compared, realtime, began)
    return high


def make_low(
    bundle: str, trusted: Sequence[str] = (), clock: str = "lockstep", realtime: bool = False
) -> StrokePlanner:
    """The low level's node."""
    began = time.monotonic()
    _import_levels()
    low, compared = bring_up_low(_opened(bundle, trusted), clock)
    _ready(compared, realtime, began)
    return low


def _import_levels() -> None:
    """Without the garbage collector, which would look through all of torch again and again: a fifth of the time."""
    gc.disable()
    try:
        from hjepa import build  # noqa: F401
        from hjepa.deploy import compiled, goldens  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def _opened(folder: str, trusted: Sequence[str]) -> bundles.Bundle:
    return bundles.opened(Path(folder), [Path(path) for path in trusted])


def _ready(compared: list[Compared], realtime: bool, began_s: float) -> None:
    """Judge the rehearsal, ask for real time, and say so in the node's log."""
    from hjepa.deploy import goldens

    goldens.check(compared)
    for step in prepare(RealtimeConfig(fifo_priority=FIFO if realtime else 0, lock_memory=realtime)):
        sys.stderr.write(f"{step.step}: {step.said}{'' if step.granted else '; ' + step.remedy}\n")
    sys.stderr.write(
        f"bundle checked, {len(compared)} golden pairs agree, ready in {time.monotonic() - began_s:.1f} s\n"
    )
