"""Run as a program: imports torch, prints what it says of itself as JSON, on one line. See machine.TorchFacts."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any


def facts() -> dict[str, Any]:
    """Fields of a TorchFacts."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library that it loads is missing
        return {"error": str(error).splitlines()[0]}
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    said = " ".join(str(complaint.message).split("\n")[0] for complaint in complaints)
    devices = range(torch.cuda.device_count()) if available else range(0)
    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda or "",
        "available": available,
        "capabilities": [torch.cuda.get_device_capability(device) for device in devices],
        "built_for": torch.cuda.get_arch_list(),
        "error": said,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(facts()) + "\n")
