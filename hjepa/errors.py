"""One base class, a child per mistake. A message says what was wrong, what was got and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class HjepaError(Exception):
    """Base of every error hjepa raises for a user's, a network's or a robot's mistake (exit code 2 in the CLI)."""


class ConfigError(HjepaError):
    """A configuration file or a --set override is wrong."""


class DataError(HjepaError):
    """A data file, feed row or data set is malformed or infeasible."""


class WeightsError(HjepaError):
    """Trained weights are missing, damaged or made for another model or robot."""


class BundleError(HjepaError):
    """A bundle is damaged, not signed by a trusted key, or made for another machine."""


class RobotError(HjepaError):
    """A driver was used out of order, a robot is unknown or its description is wrong."""


class PluginError(HjepaError):
    """A package that brings a robot, a task or a tracker is broken, or its name is taken."""


class CommandError(HjepaError):
    """A command is not finite, misshapen, expired or out of order."""


class WireError(HjepaError):
    """A frame on the bus could not be decoded or may not be accepted; `reason` is the name it is counted under."""

    def __init__(self, message: str, reason: str = "garbage") -> None:
        super().__init__(message)
        self.reason = reason


class LinkError(HjepaError):
    """An address may not be used, a peer refused a request, or a link was used out of order."""


class LinkTimeout(LinkError):
    """A peer did not answer, or did not appear, in time."""


class WorkerError(HjepaError):
    """Workers on other machines cannot be used, or work given to them was lost again and again."""


class NodeDied(HjepaError):
    """A node of a graph ended by itself; `exit_code` is its own (negative: the signal that killed it)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Sentence fragment that lists the allowed names and the one most like `name`."""
    names = sorted(allowed)
    close = closest(name, names)
    hint = f"did you mean '{close}'? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


def closest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name most like `name`, or None where none is like it."""
    close = difflib.get_close_matches(name, sorted(allowed), n=1)
    return close[0] if close else None


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Imports in the block may lack a package that the extra `name` brings: ConfigError with the line to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"this needs the package '{error.name}': pip install 'hjepa[{name}]'") from error
