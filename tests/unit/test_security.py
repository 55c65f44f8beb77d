"""Keys: made once, private, and the only way in from another machine."""

import stat
from pathlib import Path
from typing import Any

import pytest
import zmq

from hjepa.bus import security
from hjepa.bus.link import Publisher, Replier, Requester, Subscriber
from hjepa.bus.node import BusConfig, Party
from hjepa.bus.topics import Empty
from hjepa.errors import LinkError

WAIT_S = 30.0  # a busy machine


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    security.keygen(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def context() -> Any:
    made: zmq.Context[Any] = zmq.Context()
    yield made
    made.destroy(linger=0)


def test_keys_are_made_once_and_secret_ones_are_private(keys: Path) -> None:
    names = {path.name for path in keys.iterdir()}
    assert {"driver.key", "driver.key_secret", "low.key", "tools.key_secret", "command.key_secret"} <= names
    for path in keys.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == (0o600 if path.name.endswith("_secret") else 0o644)
    before = (keys / "command.key_secret").read_text()
    with pytest.raises(LinkError, match="holds keys already"):
        security.keygen(keys)
    assert (keys / "command.key_secret").read_text() == before


def test_a_key_that_others_can_read_is_refused(keys: Path) -> None:
    (keys / "low.key_secret").chmod(0o644)
    with pytest.raises(LinkError, match="can be read by others; allowed: chmod 600"):
        security.load_keys(keys, "low")


def test_a_missing_or_damaged_key_names_the_remedy(keys: Path) -> None:
    with pytest.raises(LinkError, match="hjepa bus keygen"):
        security.load_keys(keys, "stranger")
    (keys / "command.key_secret").write_text("not hex")
    with pytest.raises(LinkError, match="hjepa bus keygen"):
        security.load_keys(keys, "low")


def test_keys_are_not_shown_when_printed(keys: Path) -> None:
    loaded = security.load_keys(keys, "low")
    shown = repr(loaded)
    assert loaded.secret.decode() not in shown
    assert loaded.command is not None
    assert loaded.command.hex() not in shown
    assert str(loaded.command) not in shown


def test_an_address_that_others_can_reach_is_bound_with_keys_alone(keys: Path, context: Any) -> None:
    with pytest.raises(LinkError, match="hjepa bus keygen"):
        Publisher("tcp://0.0.0.0:*", context=context)
    with Publisher("tcp://0.0.0.0:*", context=context, keys=security.load_keys(keys, "low")) as publisher:
        assert publisher.address.startswith("tcp://0.0.0.0:")


def ask(requester: Requester, replier: Replier, timeout_s: float) -> str:
    requester.send("get_status", Empty())
    replier.serve(lambda message: ("ok", Empty()), timeout_s)
    return requester.socket.poll(round(timeout_s * 1e3)) and "answered"


def test_who_is_on_the_list_gets_in_and_who_is_not_does_not(keys: Path, tmp_path: Path, context: Any) -> None:
    security.keygen(tmp_path / "others")
    mine, theirs = security.load_keys(keys, "driver"), security.load_keys(tmp_path / "others", "low")
    stranger = security.Keys("low", {**mine.public, "low": theirs.public["low"]}, theirs.secret, theirs.command)
    allow = security.AllowList(context, mine)
    try:
        with Replier("tcp://127.0.0.1:*", context=context, keys=mine) as replier:
            known = security.load_keys(keys, "low")
            for keys_of, answered in ((known, True), (stranger, False), (None, False)):
                with Requester(replier.address, context=context, keys=keys_of, owner="driver") as requester:
                    assert bool(ask(requester, replier, WAIT_S if answered else 0.4)) == answered
            assert allow.denied["unauthenticated"] >= 1
    finally:
        allow.close()


def test_a_false_server_is_not_believed(keys: Path, tmp_path: Path, context: Any) -> None:
    security.keygen(tmp_path / "others")
    false = security.load_keys(tmp_path / "others", "low")
    with Publisher("tcp://127.0.0.1:*", context=context, keys=false) as publisher:
        mine = security.load_keys(keys, "driver")
        hears = Subscriber(publisher.address, ("command",), context=context, keys=mine, owner="low")
        with hears, pytest.raises(LinkError, match="0 of 1 subscribers"):
            publisher.wait_subscribers(1, 0.4)


def test_a_party_without_keys_stays_on_this_machine(tmp_path: Path) -> None:
    party = Party("low", BusConfig(base=f"ipc://{tmp_path}"), None)
    assert party.keys is None
    party.close()
    with pytest.raises(LinkError, match="needs keys"):
        Party("low", BusConfig(base="tcp://192.0.2.1:5000"), None).publisher("plan")
