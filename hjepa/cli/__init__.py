"""The command line: one file per verb. A user's mistake is one clear line on stderr and exit code 2."""

from hjepa.cli.app import main

__all__ = ["main"]
