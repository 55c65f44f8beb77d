"""Says how much `make setup` is about to download for torch, from pip's own plan (a dry run fetches metadata only)."""

import json
import os
import subprocess
import sys
from urllib.parse import unquote, urlparse

# torch 2.13.0 for Linux x86-64: the CPU wheel; the default wheel with its CUDA packages
MB_CPU, GB_CUDA = 190, "2 to 3"


def note(report: dict) -> str:
    """One line from pip's installation report."""
    wheels = {item["metadata"]["name"].lower(): item for item in report["install"]}
    if "torch" not in wheels:
        return "torch is already installed: no large download"
    url = urlparse(wheels["torch"]["download_info"]["url"])
    if url.scheme == "file":
        return f"torch: {os.path.getsize(unquote(url.path)) / 1e6:.0f} MB, from a local folder; the rest about 200 MB"
    if any(name.startswith(("nvidia", "triton")) for name in wheels):
        return (
            f"large download: torch with its CUDA libraries, {GB_CUDA} GB. A CPU build is {MB_CPU} MB: "
            "make TORCH_INDEX=https://download.pytorch.org/whl/cpu ..."
        )
    return f"download: torch, about {MB_CPU} MB; the rest about 200 MB"


def main() -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-", *sys.argv[1:]]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        print("hjepa:", note(json.loads(run.stdout)))
    else:  # the real install prints pip's own error
        print(f"hjepa: size unknown (pip could not plan the download); a CPU torch is {MB_CPU} MB, CUDA {GB_CUDA} GB")


if __name__ == "__main__":
    main()
