"""A bundle: one folder with all that a controller needs to plan, signed as a whole.

    manifest.json     what it was made from, for which machine, and SHA-256 of every other file
    manifest.sig      Ed25519 signature of manifest.json, and the key that made it, in hex
    config.yaml       the resolved configuration
    robot.json        name and fingerprint of the robot's description
    weights/          safetensors of both levels
    programs/         compiled packages of the low level (none: recorded at start-up)
    goldens/          inputs and outputs of every program, and of whole decisions

`opened` is the only way in: it refuses a bundle that was tampered with, that nobody trusted has signed, or that was
made for another device, processor or version, and says which. Files are read once and hashed, then used from memory:
whoever changes the folder afterwards changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import platform
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import msgspec

from hjepa import __version__
from hjepa.deploy import signing
from hjepa.errors import BundleError, nearest
from hjepa.types import RobotSpec

FORMAT = 3
MANIFEST, SIGNATURE, CONFIG, WEIGHTS = "manifest.json", "manifest.sig", "config.yaml", "weights"
MAX_FILE_BYTES = 512 * 2**20
Device = Literal["cpu", "cuda"]


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the bundle."""

    sha256: str
    bytes: int


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What compiled code needs of a machine."""

    device: Device
    architecture: str  # x86_64, aarch64
    processor: tuple[str, ...] = ()  # instruction sets that the builder had (flags of /proc/cpuinfo)
    gpu: str = ""  # name and compute capability
    torch: str = ""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle says of itself."""

    format: int
    hjepa: str
    versions: dict[str, str]
    commit: str
    built: str  # UTC
    robot: dict[str, str]  # name, fingerprint
    machine: Machine
    programs: Literal["compiled", "recorded"]
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class Bundle:
    """A bundle whose signature and files have been checked."""

    folder: Path
    manifest: Manifest
    data: Mapping[str, bytes]  # every file, as it was hashed

    def part(self, room: str) -> dict[str, bytes]:
        """Files of a folder, by their names without ending."""
        return {Path(name).stem: data for name, data in self.data.items() if name.startswith(f"{room}/")}

    @contextmanager
    def unpacked(self) -> Iterator[Path]:
        """A private folder with configuration and weights, for those who read files, while the block runs."""
        with tempfile.TemporaryDirectory(prefix="hjepa-") as name:
            for file, data in self.data.items():
                if file == CONFIG or file.startswith(f"{WEIGHTS}/"):
                    (Path(name) / file).parent.mkdir(exist_ok=True)
                    (Path(name) / file).write_bytes(data)
            yield Path(name)


def here(device: Device) -> Machine:
    """The machine that this runs on. torch is imported for its GPU alone: that takes a second."""
    return Machine(device, platform.machine(), _processor(), _gpu() if device == "cuda" else "", _torch())


def _torch() -> str:
    try:
        return metadata.version("torch").split("+")[0]
    except metadata.PackageNotFoundError:
        return ""


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        why = "this torch is a CPU build" if torch.version.cuda is None else "no driver or no device"
        raise BundleError(f"device cuda: no GPU can be used here ({why}); allowed: cpu, or a machine with one")
    major, minor = torch.cuda.get_device_capability()
    return f"{torch.cuda.get_device_name()} sm_{major}{minor}"


def _processor(path: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """Instruction sets beyond the architecture's own; empty where the system does not say."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    wanted = ("avx", "fma", "amx", "f16c", "bmi", "sse4", "asimd", "sve", "bf16", "vnni")
    return tuple(sorted(flag for flag in flags if flag.startswith(wanted)))


def seal(folder: Path, manifest: Manifest, secret: Path) -> Manifest:
    """Hash every file of a folder, and sign; returns the manifest with the hashes."""
    names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    files = {name: _entry((folder / name).read_bytes()) for name in names if name not in (MANIFEST, SIGNATURE)}
    whole = msgspec.structs.replace(manifest, files=files)
    text = json.dumps(msgspec.to_builtins(whole), indent=1, sort_keys=True).encode()
    signature, public = signing.sign(text, secret)
    (folder / MANIFEST).write_bytes(text)
    (folder / SIGNATURE).write_text(f"{signature.hex()}\n{public.hex()}\n", encoding="ascii")
    return whole


def opened(folder: Path, trusted: Sequence[Path] = (), gpu: bool = True) -> Bundle:
    """A bundle that may be used on this machine; BundleError says why one may not. Nothing of it has run yet.

    gpu: False leaves it to the nodes to look at the GPU, for which torch is imported.
    """
    text, (signature, public) = _bytes(folder, MANIFEST), _signature(folder)
    signing.check(text, signature, public, signing.trusted(trusted))
    manifest = _manifest(folder, text)
    data = _checked(folder, manifest)
    _fits(folder, manifest, gpu)
    return Bundle(folder, manifest, data)


def check_robot(bundle: Bundle, spec: RobotSpec) -> None:
    """BundleError unless the robot's description is the one that the bundle was made for."""
    if bundle.manifest.robot != spec.identity:
        made = bundle.manifest.robot.get("robot", "an unnamed robot")
        raise BundleError(
            f"{bundle.folder}: built for {made} with other limits or links than the description of {spec.name} here: "
            "build it again"
        )


def check_free(folder: Path, force: bool) -> None:
    """BundleError unless a bundle may be put there: where nothing lies, or, with `force`, another bundle."""
    there = (folder / MANIFEST).is_file() and not folder.is_symlink()
    if (folder.exists() or folder.is_symlink()) and not (force and there):
        raise BundleError(f"'{folder}' exists already: {'--force replaces a bundle' if there else 'name a new folder'}")


def _entry(data: bytes) -> FileEntry:
    return FileEntry(hashlib.sha256(data).hexdigest(), len(data))


def _bytes(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            raise BundleError(f"{path}: no plain file, or larger than {MAX_FILE_BYTES >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{folder} is no whole bundle: cannot read {name} ({error.strerror})") from error


def _signature(folder: Path) -> tuple[bytes, bytes]:
    try:
        first, second = _bytes(folder, SIGNATURE).decode("ascii").split()
        return bytes.fromhex(first), bytes.fromhex(second)
    except ValueError as error:
        raise BundleError(f"{folder}: {SIGNATURE} holds no signature") from error


def _manifest(folder: Path, text: bytes) -> Manifest:
    try:
        found = json.loads(text)
        if found.get("format") != FORMAT:
            raise BundleError(f"{folder}: bundle format {found.get('format')}; this hjepa reads {FORMAT}")
        return msgspec.convert(found, Manifest)
    except (ValueError, AttributeError, msgspec.ValidationError) as error:
        raise BundleError(f"{folder}: {MANIFEST} cannot be read: {error}") from error


def _checked(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Every file, hashed."""
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()}
    for name in sorted(there - set(manifest.files) - {MANIFEST, SIGNATURE}):
        raise BundleError(f"{folder}: {name} is not in the manifest: it was added after the bundle was signed")
    kept = {}
    for name, entry in manifest.files.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"{folder}: {name} lies outside the bundle")
        kept[name] = _bytes(folder, name)
        if _entry(kept[name]) != entry:
            raise BundleError(f"{folder}: {name} was changed after the bundle was signed (SHA-256 differs)")
    return kept


def _fits(folder: Path, manifest: Manifest, gpu: bool) -> None:
    """BundleError if it was made for another version or machine."""
    if manifest.hjepa != __version__:
        raise BundleError(f"{folder}: built by hjepa {manifest.hjepa}, this is {__version__}: build it again")
    made = manifest.machine
    if manifest.programs == "recorded" and made.device == "cpu":
        return
    own = here(made.device if gpu else "cpu")
    for what, theirs, ours in (
        ("torch", made.torch, own.torch),
        ("architecture", made.architecture, own.architecture),
        ("GPU", made.gpu, own.gpu if gpu else made.gpu),
    ):
        if theirs != ours:
            raise BundleError(f"{folder}: built for {what} {theirs or 'none'}, here is {ours or 'none'}: build it here")
    lacking = sorted(set(made.processor) - set(own.processor))
    if lacking:
        raise BundleError(
            f"{folder}: built on a processor with {', '.join(lacking[:6])}, which this one lacks: build it here"
        )


def check_device(device: str) -> Device:
    """A device by name."""
    if device not in ("cpu", "cuda"):
        raise BundleError(f"--device {device}: {nearest(device, ('cpu', 'cuda'))}")
    return device  # type: ignore[return-value]  # one of the two


def described(manifest: Manifest) -> dict[str, Any]:
    """For people and tables."""
    size = sum(entry.bytes for entry in manifest.files.values())
    return {
        "built": manifest.built,
        "hjepa": f"{manifest.hjepa} ({manifest.commit[:12] or 'no commit'})",
        "robot": manifest.robot.get("robot", ""),
        "device": manifest.machine.gpu or f"{manifest.machine.device}, {manifest.machine.architecture}",
        "torch": manifest.machine.torch,
        "programs": manifest.programs,
        "files": f"{len(manifest.files)}, {size / 2**20:.1f} MiB",
    }
