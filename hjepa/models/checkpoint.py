"""Checkpoints: tensors (safetensors) plus a JSON header of plain values; nothing executable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hjepa.errors import WeightsError
from hjepa.models.motor import MotorCodec, MotorConfig
from hjepa.types import RobotSpec


def save(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors and a JSON-able header to `path` (whole or not at all)."""
    temporary = path.with_suffix(".part")
    save_file(
        {k: v.detach().contiguous().clone() for k, v in tensors.items()}, temporary, {"hjepa": json.dumps(header)}
    )
    temporary.replace(path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of `path`; WeightsError if it is missing, damaged or not one of ours."""
    if not path.exists():
        raise WeightsError(f"no weights at '{path}': train them with `hjepa train`, or name another file with --set")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        return tensors, json.loads(metadata["hjepa"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"'{path}' is not a hjepa checkpoint ({error})") from error


def check_robot(path: Path, header: dict[str, Any], spec: RobotSpec, verb: str) -> None:
    """WeightsError unless the weights were trained for exactly this robot; `verb` is how to train others."""
    made_for = header.get("robot", "an unnamed one")
    if made_for != spec.name:
        raise WeightsError(f"'{path}' was trained for robot {made_for}, not {spec.name}: train with `{verb}`")
    if header.get("robot_sha256") != spec.fingerprint:
        raise WeightsError(
            f"'{path}' was trained for a {spec.name} with other limits or links than the description's: "
            f"train again with `{verb}`, or undo the change"
        )


def load_module(module: nn.Module, tensors: dict[str, Tensor], prefix: str) -> None:
    """Fill a module with the tensors under `prefix.`; WeightsError names what does not fit."""
    own = {k[len(prefix) + 1 :]: v for k, v in tensors.items() if k.startswith(prefix + ".")}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise WeightsError(
            f"weights of '{prefix}' do not fit this configuration: {str(error).splitlines()[-1].strip()}"
        ) from error


def save_codec(path: Path, codec: MotorCodec, header: dict[str, Any]) -> None:
    """The motor codec alone (collection needs no more)."""
    tensors = {f"motor.{k}": v for k, v in codec.state_dict().items()}
    save(path, tensors, header | {"motor": codec.describe()})


def load_codec(path: Path) -> MotorCodec:
    """A frozen motor codec."""
    return codec_of(*load(path))


def codec_of(tensors: dict[str, Tensor], header: dict[str, Any]) -> MotorCodec:
    """A frozen motor codec from what its file holds."""
    codec = MotorCodec(MotorConfig(**header["motor"]))
    load_module(codec, tensors, "motor")
    return codec.eval().requires_grad_(False)
