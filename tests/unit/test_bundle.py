"""A bundle that was tampered with, or is another machine's, is refused in one line before anything of it is used."""

import json
import os
import re
from pathlib import Path

import pytest
import torch

from hjepa import config as settings
from hjepa.deploy import bundle as bundles
from hjepa.deploy import compiled, controller, signing
from hjepa.errors import BundleError
from tests.bundled import FILES, by_hand, flip, refused, reseal, resign

pytest.importorskip("cryptography")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return signing.keygen(tmp_path / "builder")[0]


@pytest.fixture
def bundle(tmp_path: Path, secret: Path) -> Path:
    return by_hand(tmp_path / "bundle", secret)


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a program, or reading a configuration, would fail these tests."""

    def fail(*_: object) -> None:
        raise AssertionError("something of the bundle was used")

    monkeypatch.setattr(compiled, "_loaded", fail)
    monkeypatch.setattr(controller, "load_config", fail)


def check(capsys: pytest.CaptureFixture[str], bundle: Path, pattern: str) -> None:
    """Refused for one reason by both commands, and by a node's process."""
    trust = bundle.parent / "builder.pub"
    for words in (("run", bundle, "--check"), ("run", bundle), ("verify", bundle)):
        assert re.search(pattern, refused(capsys, "deploy", *words, "--trust", trust))
    for make in (controller.make_low, controller.make_high):
        with pytest.raises(BundleError, match=pattern):
            make(str(bundle), [str(trust)])


def test_a_bundle_is_opened_with_every_file_as_it_was_hashed(bundle: Path) -> None:
    opened = bundles.opened(bundle, [bundle.parent / "builder.pub"])
    before = {name: (bundle / name).read_bytes() for name in FILES}
    assert opened.data == before
    for name in FILES:
        (bundle / name).write_bytes(b"changed after it was checked")
    with opened.unpacked() as folder:
        for name in ("weights/low.safetensors", "config.yaml"):
            assert (folder / name).read_bytes() == before[name]
        assert not (folder / "programs").exists()
    assert not folder.exists()
    assert opened.part("programs") == {"see": before["programs/see.pt2"]}


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_and_named(bundle: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    flip(bundle / name)
    check(capsys, bundle, f"{name} was changed after the bundle was signed")


def test_a_file_of_another_length_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (bundle / FILES[1]).open("ab") as file:
        file.write(b"\0")
    check(capsys, bundle, "programs/see.pt2 was changed")


def test_a_changed_manifest_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(bundle / "manifest.json")
    check(capsys, bundle, "the signature does not belong to the manifest")


def test_a_truncated_manifest_is_refused_even_when_signed(
    bundle: Path, secret: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (bundle / "manifest.json").read_bytes()
    (bundle / "manifest.json").write_bytes(whole[:100])
    check(capsys, bundle, "the signature does not belong to the manifest")
    resign(bundle, secret, lambda text: text)
    check(capsys, bundle, "manifest.json cannot be read")
    for wrong in (b"[]", b"{}", b"null", b"\xff"):
        resign(bundle, secret, lambda _, wrong=wrong: wrong)
        check(capsys, bundle, r"manifest.json cannot be read|bundle format None")


@pytest.mark.parametrize("text", ["", "zz zz", "00", "00 00 00", "é"])
def test_a_damaged_signature_is_refused(bundle: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "manifest.sig").write_text(text, encoding="utf-8")
    check(capsys, bundle, "manifest.sig holds no signature")


def test_a_stranger_s_bundle_is_refused(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reseal(bundle, signing.keygen(tmp_path / "stranger")[0])
    check(capsys, bundle, "which is not trusted here")


@pytest.mark.parametrize("name", ["programs/extra.pt2", "extra.txt", "manifest.json.old", "weights/deep/er/x"])
def test_an_added_file_is_refused(bundle: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).touch()
    check(capsys, bundle, f"{name} is not in the manifest")


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.sig"])
def test_a_removed_file_is_named(bundle: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / name).unlink()
    check(capsys, bundle, f"no whole bundle: cannot read {name}")


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.sig"])
def test_a_link_to_the_very_same_file_is_refused(bundle: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    aside = bundle.parent / "aside"
    (bundle / name).rename(aside)
    (bundle / name).symlink_to(aside)
    check(capsys, bundle, f"{name}: no plain file")


def test_a_linked_folder_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bundle / "weights").rename(bundle.parent / "aside")
    (bundle / "weights").symlink_to(bundle.parent / "aside")
    check(capsys, bundle, "weights is not in the manifest")


@pytest.mark.parametrize("name", [FILES[0], "manifest.json"])
def test_a_pipe_in_a_file_s_place_is_refused_and_not_waited_for(
    bundle: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    check(capsys, bundle, f"{name}: no plain file")


@pytest.mark.parametrize("path", ["../aside", "weights/../../aside", "/etc/hostname"])
def test_a_path_out_of_the_folder_is_refused(
    bundle: Path, secret: Path, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle.parent / "aside").write_bytes(b"")
    entry = json.dumps({path: {"sha256": "0" * 64, "bytes": 0}})[1:-1].encode()
    resign(bundle, secret, lambda text: text.replace(b'"files": {', b'"files": {' + entry + b",", 1))
    check(capsys, bundle, f"{path} lies outside the bundle")


def test_an_empty_or_missing_folder_is_refused(
    tmp_path: Path, secret: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    check(capsys, tmp_path / "empty", "no whole bundle: cannot read manifest.json")
    check(capsys, tmp_path / "missing", "no whole bundle: cannot read manifest.json")


def test_another_format_is_refused(bundle: Path, secret: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resign(bundle, secret, lambda text: text.replace(b'"format": 3', b'"format": 4'))
    check(capsys, bundle, "bundle format 4; this hjepa reads 3")


def test_another_hjepa_is_refused(bundle: Path, secret: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reseal(bundle, secret, hjepa="0.0.9")
    check(capsys, bundle, "built by hjepa 0.0.9, this is .*: build it again")


@pytest.mark.parametrize(
    ("machine", "pattern"),
    [
        ({"torch": "2.12.0"}, "built for torch 2.12.0, here is .*: build it here"),
        ({"architecture": "riscv64"}, "built for architecture riscv64, here is .*: build it here"),
        ({"processor": ("avx9000", "sse4_1")}, "built on a processor with avx9000.*, which this one lacks"),
    ],
)
def test_compiled_programs_of_another_machine_are_refused(
    bundle: Path, secret: Path, machine: dict[str, str], pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reseal(bundle, secret, machine=machine)
    check(capsys, bundle, pattern)


def test_recorded_programs_go_with_any_processor(bundle: Path, secret: Path) -> None:
    reseal(bundle, secret, programs="recorded", machine={"architecture": "riscv64", "torch": "2.12.0"})
    assert bundles.opened(bundle, [bundle.parent / "builder.pub"]).manifest.programs == "recorded"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_bundle_for_a_gpu_is_refused_where_there_is_none(
    bundle: Path, secret: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reseal(bundle, secret, machine={"device": "cuda", "gpu": "NVIDIA H100 sm_90"})
    assert "no GPU can be used here" in refused(
        capsys, "deploy", "run", bundle, "--check", "--trust", bundle.parent / "builder.pub"
    )
    with pytest.raises(BundleError, match="no GPU can be used here"):
        controller.make_low(str(bundle), [str(bundle.parent / "builder.pub")])


def test_another_gpu_is_refused(bundle: Path, secret: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reseal(bundle, secret, machine={"device": "cuda", "gpu": "NVIDIA H100 sm_90"})
    trust = [bundle.parent / "builder.pub"]
    monkeypatch.setattr(bundles, "_gpu", lambda: "NVIDIA L4 sm_89")
    with pytest.raises(BundleError, match="built for GPU NVIDIA H100 sm_90, here is NVIDIA L4 sm_89"):
        bundles.opened(bundle, trust)
    monkeypatch.setattr(bundles, "_gpu", lambda: "NVIDIA H100 sm_90")
    assert bundles.opened(bundle, trust).manifest.machine.device == "cuda"


def test_a_robot_with_another_description_is_refused(
    bundle: Path, secret: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "config.yaml").write_text(settings.dump(settings.load("badminton")))
    reseal(bundle, secret, robot={"robot": "courtbot", "robot_sha256": "0" * 64})
    monkeypatch.setattr(controller, "load_config", settings.load)
    check(capsys, bundle, "built for courtbot with other limits or links than the description of courtbot here")


def test_flags_of_the_processor_are_read_where_the_system_tells_them(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("model name : x\nflags : fpu avx2 fma sse4_2 avx512f\nflags : fpu\n")
    assert bundles._processor(tmp_path / "cpuinfo") == ("avx2", "avx512f", "fma", "sse4_2")
    (tmp_path / "arm").write_text("Features : fp asimd sve\n")
    assert bundles._processor(tmp_path / "arm") == ("asimd", "sve")
    assert bundles._processor(tmp_path / "nothing") == ()


def test_a_place_for_a_bundle_is_new_or_a_bundle_s(bundle: Path, tmp_path: Path) -> None:
    bundles.check_free(tmp_path / "new", force=False)
    bundles.check_free(bundle, force=True)
    (tmp_path / "link").symlink_to(bundle)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "thesis").mkdir()
    for folder, force in ((tmp_path / "thesis", True), (tmp_path / "link", True), (tmp_path / "dangling", True)):
        with pytest.raises(BundleError, match="exists already: name a new folder"):
            bundles.check_free(folder, force)
    with pytest.raises(BundleError, match="exists already: --force replaces a bundle"):
        bundles.check_free(bundle, force=False)
