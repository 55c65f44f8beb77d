"""Ed25519 signatures (RFC 8032): a bundle holds machine code, so nothing of it is loaded before its maker is known.

A key pair is two small text files: NAME.key (secret, mode 0600) and NAME.pub. A controller trusts the .pub files that
it is given, and nobody else.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hjepa.errors import BundleError, extra

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SECRET, PUBLIC = ".key", ".pub"
KEY_BYTES = 32


def home() -> Path:
    """Where this user's own pair lies, and the public keys that are trusted without being named."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "hjepa" / "deploy"


def keygen(path: Path) -> tuple[Path, Path]:
    """Make a pair PATH.key, PATH.pub; never overwrites. BundleError if either exists, or cannot be written."""
    with extra("deploy"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    stem = path.name.removesuffix(SECRET).removesuffix(PUBLIC)
    secret, public = path.with_name(stem + SECRET), path.with_name(stem + PUBLIC)
    key = Ed25519PrivateKey.generate()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(public, key.public_key().public_bytes_raw(), 0o644)
        try:
            _write_new(secret, key.private_bytes_raw(), 0o600)
        except OSError:
            public.unlink()
            raise
    except FileExistsError as error:
        raise BundleError(f"'{error.filename}' exists already; allowed: a new name") from error
    except OSError as error:
        raise BundleError(f"cannot write key '{error.filename}': {error.strerror}") from error
    return secret, public


def own_key() -> Path:
    """This user's secret key, made when it is first asked for."""
    path = home() / f"own{SECRET}"
    if not path.exists():
        keygen(path)
    return path


def trusted(files: Sequence[Path]) -> list[bytes]:
    """Public keys of these files; of all in `home()` if none is named. BundleError if there is none."""
    found = [_read(path, PUBLIC) for path in (files or sorted(home().glob(f"*{PUBLIC}")))]
    if not found:
        raise BundleError(
            f"no key is trusted: name the builder's public key with --trust FILE.pub, or put it into {home()}"
        )
    return found


def sign(data: bytes, secret: Path) -> tuple[bytes, bytes]:
    """Signature (64 bytes) and public key (32 bytes)."""
    key = _private(_read(secret, SECRET))
    return key.sign(data), key.public_key().public_bytes_raw()


def check(data: bytes, signature: bytes, public: bytes, trusted_keys: Sequence[bytes]) -> None:
    """BundleError unless the signature is that of one of the trusted keys."""
    with extra("deploy"):
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    if public not in trusted_keys:
        raise BundleError(
            f"signed with key {public.hex()[:12]}, which is not trusted here: --trust FILE.pub names one that is"
        )
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError) as error:
        raise BundleError("the signature does not belong to the manifest: one of them was changed") from error


def _private(raw: bytes) -> Ed25519PrivateKey:
    with extra("deploy"):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    return Ed25519PrivateKey.from_private_bytes(raw)


def _read(path: Path, kind: str) -> bytes:
    if path.suffix != kind:
        other = f"one that ends with {kind}: {SECRET} is secret and signs, {PUBLIC} is public and trusted"
        raise BundleError(f"key '{path}'; allowed: {other}")
    try:
        raw = bytes.fromhex(path.read_text(encoding="ascii"))
        open_to = path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    except OSError as error:
        raise BundleError(f"cannot read key '{path}': {error.strerror}; `hjepa deploy keygen` makes one") from error
    except ValueError:
        raw, open_to = b"", 0
    if len(raw) != KEY_BYTES:
        raise BundleError(f"'{path}' is no key; allowed: {KEY_BYTES} bytes in hex, as `hjepa deploy keygen` writes")
    if kind == SECRET and open_to:
        raise BundleError(f"key '{path}' can be read by others; allowed: chmod 600")
    return raw


def _write_new(path: Path, key: bytes, mode: int) -> None:
    """In one step: nobody reads half a key, and FileExistsError if one is there."""
    with tempfile.NamedTemporaryFile("w", encoding="ascii", dir=path.parent, prefix=f".{path.name}.") as part:
        part.write(key.hex() + "\n")
        part.flush()
        os.fchmod(part.fileno(), mode)
        try:
            os.link(part.name, path)
        except FileExistsError as error:
            raise FileExistsError(error.errno, error.strerror, str(path)) from error
