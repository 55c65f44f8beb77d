"""What computes plans: GPU, torch, processor; and the compiler, which only builds bundles."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from hjepa.deploy.examine import Finding
from hjepa.deploy.examine.machine import Machine, TorchFacts

_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
_NVIDIA, _DISPLAY = "0x10de", "0x03"  # PCI vendor, and class of display and 3-D controllers
_COMPILERS = ("c++", "g++", "clang++")
_CPU_FLAGS = {  # of /proc/cpuinfo, x86-64 and then aarch64
    "AVX2": "avx2",
    "AVX-512": "avx512f",
    "AVX-512 bf16": "avx512_bf16",
    "AMX bf16": "amx_bf16",
    "NEON": "asimd",
    "SVE": "sve",
    "bf16": "bf16",
}
_GET = "pip install torch=={pin} --index-url https://download.pytorch.org/whl/"


class Gpu(NamedTuple):
    """An NVIDIA GPU and its driver."""

    name: str
    driver: str
    memory: str  # with its unit, as nvidia-smi says it


def gpus(machine: Machine) -> list[Gpu]:
    """Those that the driver knows."""
    lines = (machine.run(_QUERY) or "").splitlines()
    cells = [[cell.strip() for cell in line.split(",")] for line in lines]
    return [Gpu(*row) for row in cells if len(row) == 3]


def gpu(machine: Machine, found: Sequence[Gpu]) -> Finding:
    """The GPUs and their driver."""
    if found:
        return Finding("gpu", "ok", "; ".join(f"{g.name}, {g.memory}, driver {g.driver}" for g in found))
    driver = machine.read(machine.proc / "driver/nvidia/version").partition("\n")[0]
    if driver:
        version = re.search(r"\d+\.\d+(\.\d+)?", driver)
        seen = f"driver {version[0] if version else driver} is loaded, but nvidia-smi finds no GPU"
        return Finding("gpu", "warn", seen, "run nvidia-smi: it says why; in a container, start it with --gpus all")
    if any(_is_nvidia(machine, device.name) for device in (machine.sys / "bus/pci/devices").glob("*")):
        return Finding("gpu", "warn", "an NVIDIA GPU without its driver", "sudo ubuntu-drivers install, then restart")
    return Finding(
        "gpu",
        "note",
        "no NVIDIA GPU: planning runs on the CPU",
        "nothing to do while `hjepa bus stats` shows no misses",
    )


def _is_nvidia(machine: Machine, device: str) -> bool:
    folder = machine.sys / "bus/pci/devices" / device
    return machine.read(folder / "vendor") == _NVIDIA and machine.read(folder / "class").startswith(_DISPLAY)


def torch(machine: Machine, found: Sequence[Gpu]) -> Finding:
    """Which torch there is, and whether it and the GPU fit each other."""
    version = machine.version("torch")
    if version is None:
        return Finding(
            "torch",
            "note",
            "not installed: a driver needs none, levels do",
            "where levels run: pip install 'hjepa[learn]'",
        )
    pin = pinned(machine, "torch")
    again = f"pip install --force-reinstall torch=={pin or version}"
    facts = machine.torch()
    if facts is None:
        return Finding("torch", "fail", f"{version} crashes or hangs when imported", again)
    if not facts.version:
        return Finding("torch", "fail", f"{version} cannot be imported: {facts.error}", again)
    build = f"built for CUDA {facts.cuda}" if facts.cuda else "CPU build"
    seen = f"{facts.version}, {build}"
    if pin and facts.version.partition("+")[0] != pin:
        return Finding("torch", "warn", f"{seen}; hjepa is tested with {pin}", f"pip install torch=={pin}")
    return _fits(seen, facts, found, _GET.format(pin=pin or version.partition("+")[0]))


def _fits(seen: str, facts: TorchFacts, found: Sequence[Gpu], get: str) -> Finding:
    if not found:
        return Finding("torch", "ok", seen)
    if not facts.cuda:
        return Finding("torch", "warn", f"{seen} beside a {found[0].name}: the GPU is not used", f"{get}cu130")
    if not facts.available:
        why = f": {facts.error}" if facts.error else ""
        seen = f"{seen}, cannot use the GPU with driver {found[0].driver}{why}"
        return Finding("torch", "warn", seen, "update the NVIDIA driver (sudo ubuntu-drivers install), then restart")
    for major, minor in facts.capabilities:
        if not any(_runs(name, major, minor) for name in facts.built_for):
            seen = f"{seen}, has no code for compute capability {major}.{minor} ({', '.join(facts.built_for)})"
            return Finding("torch", "warn", seen, f"another build: {get}cu126 has older GPUs, cu130 newer ones")
    return Finding("torch", "ok", f"{seen}, uses the GPU")


def _runs(name: str, major: int, minor: int) -> bool:
    """Whether code for sm_XY or compute_XY runs: the first within a major version, the second on any later GPU."""
    match = re.fullmatch(r"(sm|compute)_(\d+)(\d)[af]?", name)
    if match is None:
        return False
    built = int(match[2]), int(match[3])
    return built <= (major, minor) and (match[1] == "compute" or built[0] == major)


def processor(machine: Machine) -> Finding:
    """The processor and its vector units."""
    info = machine.proc / "cpuinfo"
    flags = set((machine.field(info, "flags") or machine.field(info, "Features")).split())
    model = machine.field(info, "model name") or "processor"
    units = [name for name, flag in _CPU_FLAGS.items() if flag in flags]
    seen = f"{model}; {', '.join(units) or 'no vector unit that torch uses'}"
    if not {"avx2", "asimd"} & flags:
        return Finding("processor", "warn", seen, "let the levels run elsewhere: docs/launch.md, Two machines")
    return Finding("processor", "ok", seen)


def compiler(machine: Machine) -> Finding:
    """A C++ compiler."""
    path = next(filter(None, map(machine.find, _COMPILERS)), None)
    if path is None:
        seen = "none: needed to build bundles, not to run them"
        return Finding("compiler", "note", seen, "where bundles are built: sudo apt install g++")
    version = (machine.run((path, "--version")) or path).partition("\n")[0]
    return Finding("compiler", "ok", version)


def pinned(machine: Machine, package: str) -> str:
    """The version of a package that hjepa's metadata names exactly; empty if it names none."""
    found = (re.match(rf"{package}==([^\s;,]+)", line.replace(" ", "")) for line in machine.requirements())
    return next((match[1] for match in found if match), "")
