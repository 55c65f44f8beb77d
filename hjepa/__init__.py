"""hjepa: a robot control stack that plans in two learned latent spaces.

Importing the package is light: no torch, zmq or pybullet is loaded. `hjepa.load` fetches them when called.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        return import_module("hjepa.api").load
    raise AttributeError(f"module 'hjepa' has no attribute {name!r}; public names: {', '.join(__all__)}")
