"""What hjepa needs around it: packages, weights, the network."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterator
from pathlib import Path

from hjepa import __version__
from hjepa.deploy.examine import Finding
from hjepa.deploy.examine.machine import Machine

CONTROLLER = {
    "deploy": "signed bundles",
    "log": "recordings",
    "metrics": "Prometheus",
}  # extras that a controller is better for
PLAYED = ("low", "high")  # weights without which the shipped configurations do not play
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;]*(?:;.*extra\s*==\s*['\"]([^'\"]+)['\"])?")
_MAX_HEADER_BYTES = 10**8


def packages(machine: Machine) -> Iterator[Finding]:
    """What the base installation needs, and which extras are whole."""
    missing: dict[str, list[str]] = {"": []}  # by extra; "" for the base
    for line in machine.requirements():
        match = _REQUIREMENT.match(line)
        if match:
            lacking = missing.setdefault(match[2] or "", [])
            lacking += [match[1]] if machine.version(match[1]) is None else []
    seen = f"hjepa {__version__}, Python {platform.python_version()}, {platform.machine()}"
    base = missing.pop("")
    if base:
        yield Finding("packages", "fail", f"{seen}; missing: {', '.join(base)}", f"pip install {' '.join(base)}")
    else:
        yield Finding("packages", "ok", seen)
    whole = ", ".join(name for name, lacking in missing.items() if not lacking) or "none"
    wanted = {name: use for name, use in CONTROLLER.items() if missing.get(name)}
    if wanted:
        lacking = [f"{name} ({use})" for name, use in wanted.items()]
        remedy = f"pip install 'hjepa[{','.join(wanted)}]'"
        yield Finding("extras", "note", f"installed: {whole}; not: {', '.join(lacking)}", remedy)
    else:
        yield Finding("extras", "ok", f"installed: {whole}")


def weights(machine: Machine) -> Finding:
    """Weights that ship with the package: whole, as far as their headers tell."""
    files = sorted(machine.weights.glob("*.safetensors"))
    remedy = "pip install --force-reinstall --no-deps hjepa; in a checkout: git checkout -- hjepa/weights"
    bad = [f"{file.name}: {why}" for file in files if (why := _damage(file))]
    bad += [f"{name}.safetensors is missing" for name in PLAYED if machine.weights / f"{name}.safetensors" not in files]
    if bad:
        return Finding("weights", "fail", f"in {machine.weights}: {'; '.join(bad)}", remedy)
    size = sum(file.stat().st_size for file in files)
    return Finding("weights", "ok", f"{', '.join(file.stem for file in files)} ({size / 1e6:.1f} MB)")


def _damage(file: Path) -> str:
    """What is wrong with a safetensors file; empty when its length is what its header says."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length)) if length < _MAX_HEADER_BYTES else {}
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return "its header is damaged"
    if not ends:
        return "it holds no tensors"
    missing = 8 + length + max(ends) - file.stat().st_size
    return f"{missing} bytes are missing" if missing > 0 else ""


def network(machine: Machine) -> Iterator[Finding]:
    """Sockets of this machine, encryption for others, and the way to them."""
    trouble = machine.bind_loopback()
    if trouble:
        yield Finding("loopback", "fail", f"127.0.0.1 cannot be bound: {trouble}", "sudo ip link set lo up")
    else:
        yield Finding("loopback", "ok", "127.0.0.1 can be bound")
    found = machine.zmq()
    if found is None:
        yield Finding("zmq", "fail", "cannot be imported", "pip install --force-reinstall pyzmq")
    elif not found[1]:
        remedy = "to use several machines, take the wheel of PyPI: pip install --force-reinstall pyzmq"
        yield Finding("zmq", "warn", f"{found[0]} without CURVE: graphs stay on this machine", remedy)
    else:
        yield Finding("zmq", "ok", f"{found[0]} with CURVE")
    others = [card for card in sorted((machine.sys / "class/net").glob("*")) if card.name != "lo"]
    up = [card for card in others if machine.read(card / "operstate") in ("up", "unknown")]
    names = ", ".join(f"{card.name} (MTU {machine.read(card / 'mtu')})" for card in up)
    if names:
        yield Finding("network", "ok", names)
    else:
        down = ", ".join(card.name for card in others) or "none but lo"
        yield Finding(
            "network", "note", f"no interface is up: {down}", "none needed on one machine; else ip link, nmcli"
        )
