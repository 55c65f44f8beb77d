"""Who signed a bundle: keys are made once, kept private, and only those that are trusted count."""

import stat
import sys
from pathlib import Path

import pytest

from hjepa.deploy import signing
from hjepa.errors import BundleError, ConfigError

pytest.importorskip("cryptography")
TEXT = b"a manifest"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's keys, not those of whoever runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "hjepa" / "deploy"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return signing.keygen(tmp_path / "builder")


def test_a_signature_by_a_trusted_key_is_accepted(pair: tuple[Path, Path], tmp_path: Path) -> None:
    secret, public = pair
    other = signing.keygen(tmp_path / "other")[1]
    signature, key = signing.sign(TEXT, secret)
    signing.check(TEXT, signature, key, signing.trusted([other, public]))


def test_a_key_that_is_not_trusted_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    secret, _ = signing.keygen(tmp_path / "stranger")
    with pytest.raises(BundleError, match="which is not trusted here: --trust FILE.pub"):
        signing.check(TEXT, *signing.sign(TEXT, secret), signing.trusted([pair[1]]))


def test_a_stranger_who_claims_a_trusted_key_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    stranger, _ = signing.keygen(tmp_path / "stranger")
    trusted = signing.trusted([pair[1]])
    with pytest.raises(BundleError, match="does not belong to the manifest"):
        signing.check(TEXT, signing.sign(TEXT, stranger)[0], trusted[0], trusted)


def test_a_changed_text_or_signature_is_refused(pair: tuple[Path, Path]) -> None:
    secret, public = pair
    signature, key = signing.sign(TEXT, secret)
    trusted = signing.trusted([public])
    for text, signed in ((TEXT + b" ", signature), (TEXT, bytes([signature[0] ^ 1]) + signature[1:]), (TEXT, b"")):
        with pytest.raises(BundleError, match="does not belong to the manifest"):
            signing.check(text, signed, key, trusted)


def test_the_secret_key_is_readable_by_its_owner_alone(pair: tuple[Path, Path]) -> None:
    assert [stat.S_IMODE(path.stat().st_mode) for path in pair] == [0o600, 0o644]


@pytest.mark.parametrize("name", ["line-3.2", "line-3.2.key", "line-3.2.pub"])
def test_a_pair_is_named_as_asked(tmp_path: Path, name: str) -> None:
    assert [path.name for path in signing.keygen(tmp_path / name)] == ["line-3.2.key", "line-3.2.pub"]


@pytest.mark.parametrize("kept", [0, 1])
def test_keygen_never_overwrites_and_leaves_no_half_pair(pair: tuple[Path, Path], kept: int, tmp_path: Path) -> None:
    pair[1 - kept].unlink()
    before = pair[kept].read_text()
    with pytest.raises(BundleError, match=f"{pair[kept].name}' exists already"):
        signing.keygen(tmp_path / "builder")
    assert pair[kept].read_text() == before
    assert [path for path in tmp_path.iterdir() if path.name.lstrip(".").startswith("builder")] == [pair[kept]]


def test_keygen_says_where_it_cannot_write() -> None:
    with pytest.raises(BundleError, match="cannot write key '/proc/nowhere': No such file"):
        signing.keygen(Path("/proc/nowhere/builder"))


def test_a_secret_key_that_others_can_read_is_refused(pair: tuple[Path, Path]) -> None:
    pair[0].chmod(0o640)
    with pytest.raises(BundleError, match="can be read by others; allowed: chmod 600"):
        signing.sign(TEXT, pair[0])


def test_secret_and_public_keys_are_not_confused(pair: tuple[Path, Path]) -> None:
    secret, public = pair
    with pytest.raises(BundleError, match=r"one that ends with \.key"):
        signing.sign(TEXT, public)
    with pytest.raises(BundleError, match=r"one that ends with \.pub"):
        signing.trusted([secret])


def test_own_key_is_made_once_and_trusted_without_being_named(home: Path) -> None:
    made = signing.own_key()
    assert made.parent == home and stat.S_IMODE(home.stat().st_mode) == 0o700
    before = made.read_text()
    assert signing.own_key().read_text() == before
    signing.check(TEXT, *signing.sign(TEXT, made), signing.trusted([]))


def test_trusting_nobody_says_what_to_do(home: Path) -> None:
    with pytest.raises(BundleError, match=f"no key is trusted: name .* with --trust FILE.pub, or put it into {home}"):
        signing.trusted([])


@pytest.mark.parametrize("text", ["", "abcd", "zz" * 32, "\xff" * 64])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.pub").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError, match="is no key; allowed: 32 bytes in hex"):
        signing.trusted([tmp_path / "bad.pub"])
    with pytest.raises(BundleError, match="cannot read key"):
        signing.trusted([tmp_path / "missing.pub"])


def test_without_cryptography_the_extra_is_named(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    signature, key = signing.sign(TEXT, pair[0])
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    for use in (
        lambda: signing.keygen(tmp_path / "new"),
        lambda: signing.sign(TEXT, pair[0]),
        lambda: signing.check(TEXT, signature, key, [key]),
    ):
        with pytest.raises(ConfigError, match=r"pip install 'hjepa\[deploy\]'"):
            use()
