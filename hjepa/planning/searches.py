"""The searches by the names that a configuration calls them."""

from __future__ import annotations

from hjepa.errors import ConfigError, nearest
from hjepa.planning.cem import CrossEntropy, ImprovedCrossEntropy
from hjepa.planning.gradient import GaussNewton
from hjepa.planning.mppi import PathIntegral
from hjepa.planning.protocols import Planner

NAMES = ("gradient", "cem", "icem", "mppi")


def make_planner(name: str, candidates: int = 128, elites: int = 12, *, horizon: int = 1) -> Planner:
    """candidates, elites: of a search that samples; horizon: steps that the search variables are a sequence of, one
    after another. ConfigError for another name."""
    if name == "gradient":
        return GaussNewton()
    if name == "cem":
        return CrossEntropy(candidates, elites)
    if name == "icem":
        return ImprovedCrossEntropy(candidates, elites, horizon=horizon)
    if name == "mppi":
        return PathIntegral(candidates, elites)
    raise ConfigError(f"unknown search '{name}': {nearest(name, NAMES)}")
