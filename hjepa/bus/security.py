"""Who may talk: CURVE keys for sockets that others can reach, and one command key for what moves a robot.

`keygen` fills a folder: for each node a CURVE pair (NAME.key public, NAME.key_secret), and command.key_secret, the key
of the MACs on commands. The public keys in the folder are the allow-list: a peer with another key is refused by the
ZAP handler (RFC 27) before it can send a byte. To let another machine in, copy the folder to it with the public keys,
the command key, and the secret keys of the nodes that run there. Keys are never recorded and never sent.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zmq
import zmq.auth

from hjepa.errors import LinkError

PARTIES = ("driver", "high", "low", "conductor", "tools")
COMMAND_KEY = "command.key_secret"
KEY_BYTES = 32


def keygen(folder: Path, parties: tuple[str, ...] = PARTIES) -> list[Path]:
    """Make keys for every party, and the command key; never overwrites. Returns the files; LinkError if any exists."""
    names = [f"{party}.{end}" for party in parties for end in ("key", "key_secret")]
    there = [name for name in (*names, COMMAND_KEY) if (folder / name).exists()]
    if there:
        raise LinkError(f"'{folder}' holds keys already ({', '.join(there[:3])}...); allowed: a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for party in parties:
        zmq.auth.create_certificates(folder, party)
    write_command_key(folder)
    made = [folder / name for name in (*names, COMMAND_KEY)]
    for path in made:
        path.chmod(0o600 if path.name.endswith("_secret") else 0o644)
    return made


def write_command_key(folder: Path) -> None:
    """A fresh command key into a folder, readable by its owner alone."""
    path = folder / COMMAND_KEY
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")


@dataclass(frozen=True)
class Keys:
    """A party's own pair, the public keys of all, and the command key. Nothing of it is shown when printed."""

    me: str
    public: dict[str, bytes] = field(repr=False)  # party -> Z85
    secret: bytes = field(repr=False)  # Z85
    command: bytes | None = field(repr=False)  # None: this party sends no commands and checks none

    def secure(self, socket: zmq.Socket[Any], owner: str, bind: bool) -> None:
        """Make a socket speak CURVE: as the server where it binds, else as a client of `owner`."""
        socket.curve_secretkey, socket.curve_publickey = self.secret, self.public[self.me]
        if bind:
            socket.curve_server = True
        elif owner in self.public:
            socket.curve_serverkey = self.public[owner]
        else:
            raise LinkError(f"no public key of '{owner}'; allowed: {', '.join(sorted(self.public))}")


def load_keys(folder: str | Path, me: str) -> Keys:
    """Keys of a party from a folder; LinkError with the remedy if one is missing, or readable by others."""
    folder = Path(folder)
    public = {path.stem: zmq.auth.load_certificate(path)[0] for path in sorted(folder.glob("*.key"))}
    own = _private(folder / f"{me}.key_secret")
    command = folder / COMMAND_KEY
    try:
        key = bytes.fromhex(_private(command).read_text(encoding="ascii").strip()) if command.exists() else None
        secret = zmq.auth.load_certificate(own)[1]
    except (ValueError, OSError) as error:
        raise LinkError(
            f"keys in '{folder}' cannot be read: {error}; allowed: what `hjepa bus keygen` wrote"
        ) from error
    if secret is None or (key is not None and len(key) != KEY_BYTES):
        raise LinkError(f"keys in '{folder}' are damaged; allowed: what `hjepa bus keygen` wrote")
    return Keys(me, public, secret, key)


def command_key(folder: str | Path) -> bytes | None:
    """The command key alone, for graphs that stay on this machine; None where the folder holds none."""
    path = Path(folder) / COMMAND_KEY
    if not path.exists():
        return None
    key = bytes.fromhex(_private(path).read_text(encoding="ascii").strip())
    return key if len(key) == KEY_BYTES else None


def _private(path: Path) -> Path:
    if not path.is_file():
        raise LinkError(f"no key '{path}'; allowed: a folder made by `hjepa bus keygen`")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) or path.stat().st_uid not in (os.getuid(), 0):
        raise LinkError(f"key '{path}' can be read by others; allowed: chmod 600, and owned by you")
    return path


class AllowList:
    """The ZAP handler of a context: lets in who is on the list, counts who is not. Started once, closed once."""

    def __init__(self, context: zmq.Context[Any], keys: Keys) -> None:
        from zmq.auth.thread import ThreadAuthenticator  # brings asyncio: not for every command line

        self.denied: Counter[str] = Counter()
        self._allowed = frozenset(keys.public.values())
        self._thread = ThreadAuthenticator(context)
        self._thread.start()
        self._thread.configure_curve_callback(domain="*", credentials_provider=self)

    def callback(self, domain: str, key: bytes) -> bool:
        """Asked by the handler's thread for every connection: `key` is the peer's public one, Z85."""
        known = key in self._allowed
        if not known:
            self.denied["unauthenticated"] += 1
        return known

    def close(self) -> None:
        """End the handler's thread; a second close does nothing."""
        if self._thread.is_alive():
            self._thread.stop()
