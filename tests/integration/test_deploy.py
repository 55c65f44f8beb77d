"""A bundle is built whole or not at all, and what it computes is what its builder saw, or it is refused."""

import gc
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hjepa import config as settings
from hjepa.cli import main
from hjepa.deploy import building, compiled, controller, goldens
from hjepa.deploy import bundle as bundles
from hjepa.errors import BundleError
from hjepa.planning.held import limits_of
from hjepa.planning.programs import plain
from tests import tiny
from tests.bundled import refused, reseal

pytest.importorskip("cryptography")
COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


@pytest.fixture(autouse=True)
def own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys of whoever runs the tests play no part."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def opened(bundle: Path) -> bundles.Bundle:
    return bundles.opened(bundle, [bundle.parent / "builder.pub"])


# building


def test_build_prints_what_it_made_and_verify_finds_it_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    for words in (("build", "badminton", "--programs", "recorded", "--out", out), ("verify", out)):
        with pytest.raises(SystemExit) as end:
            main(["deploy", *map(str, words)])
        assert end.value.code == 0
        said = capsys.readouterr().out
        for part in ("courtbot", "recorded", f"torch     {torch.__version__.split('+')[0]}", "12, "):
            assert part in said
    assert "12 files and 15 golden pairs are right" in " ".join(said.split())
    assert sorted(path.name for path in out.iterdir()) == [
        *("config.yaml", "goldens", "manifest.json", "manifest.sig", "robot.json", "weights"),
    ]


def test_a_bundle_names_no_folder_of_its_builder(bundle: Path) -> None:
    assert settings.load(bundle / "config.yaml").agent.weights == ""
    assert str(Path.cwd()) not in (bundle / "manifest.json").read_text() + (bundle / "config.yaml").read_text()


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("g++: not found\nand much more")

    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", fail)
    monkeypatch.setattr(building, "write", lambda config, folder, device: folder.mkdir())
    return


def test_a_failing_compiler_leaves_nothing(
    tmp_path: Path, no_compiler: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "made").mkdir()
    said = refused(capsys, "deploy", "build", "badminton", "--out", tmp_path / "made" / "bundle")
    assert said == "hjepa: 'see' could not be compiled: g++: not found (a C++ compiler is needed: apt install g++)\n"
    assert not list((tmp_path / "made").iterdir())


def test_a_failing_compiler_leaves_the_bundle_that_was_to_be_replaced(bundle: Path, no_compiler: None) -> None:
    before = sorted(path.name for path in bundle.parent.iterdir())
    with pytest.raises(BundleError, match="could not be compiled"):
        building.make(settings.load("badminton"), bundle, key=bundle.parent / "builder.key", force=True)
    assert sorted(path.name for path in bundle.parent.iterdir()) == before
    assert opened(bundle).manifest.programs == "recorded"


def test_force_replaces_a_bundle_and_nothing_else(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "write", lambda config, folder, device: folder.mkdir())
    made = {"compile_programs": False, "key": bundle.parent / "builder.key"}
    config = settings.load("badminton")
    with pytest.raises(BundleError, match="--force replaces a bundle"):
        building.make(config, bundle, **made)
    building.make(config, bundle, force=True, **made)
    assert sorted(path.name for path in bundle.iterdir()) == ["manifest.json", "manifest.sig"]
    (bundle / "manifest.json").unlink()
    with pytest.raises(BundleError, match="name a new folder"):
        building.make(config, bundle, force=True, **made)
    assert (bundle / "manifest.sig").exists()


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (("--set", "agent.name=flat"), "agent 'flat' cannot be bundled; allowed: hjepa, reactive, coded-goal"),
        (("--set", "high.feint=true"), "agent 'hjepa' with feints cannot be bundled"),
        (("--programs", "fast"), "--programs fast; allowed: compiled, recorded"),
        (("--device", "gpu"), "--device gpu: .*cpu, cuda"),
        (("--key", "missing.key"), "cannot read key 'missing.key'"),
        (("--set", "agent.weights=nowhere"), "no weights at 'nowhere/"),
        (("--out", "/proc/nowhere/bundle"), "cannot write '/proc/nowhere/bundle': No such file"),
        (("--out", "."), "exists already: name a new folder"),
    ],
)
def test_what_cannot_be_built_is_refused_and_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    pattern: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(pattern, refused(capsys, "deploy", "build", "badminton", *words))
    assert {path.name for path in tmp_path.iterdir()} <= {"config"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_building_for_a_gpu_needs_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "deploy", "build", "--device", "cuda", "--out", tmp_path / "bundle")
    assert "device cuda: no GPU can be used here" in said


# golden pairs


def test_golden_pairs_agree_for_the_weights_that_made_them(bundle: Path) -> None:
    compared = [*controller.bring_up_high(opened(bundle))[1], *controller.bring_up_low(opened(bundle))[1]]
    assert len(compared) == 15
    goldens.check(compared)


@pytest.mark.parametrize(
    ("file", "tensor", "make"),
    [("low", "low.predictor", controller.make_low), ("high", "high.encoder", controller.make_high)],
)
def test_other_weights_are_refused_by_the_rehearsal_even_when_signed(
    bundle: Path, file: str, tensor: str, make: object
) -> None:
    path = bundle / "weights" / f"{file}.safetensors"
    with safe_open(path, framework="pt") as whole:
        header = whole.metadata()
    tensors = load_file(path)
    changed = [name for name, value in tensors.items() if name.startswith(tensor) and value.ndim == 2]
    for name in changed:
        tensors[name] = 1.5 * tensors[name]
    assert changed
    save_file(tensors, path, header)
    reseal(bundle, bundle.parent / "builder.key")
    with pytest.raises(BundleError, match=r"golden pair 'decision .* times its tolerance"):
        make(str(bundle), [str(bundle.parent / "builder.pub")])


def test_a_bundle_without_golden_pairs_is_refused(bundle: Path) -> None:
    shutil.rmtree(bundle / "goldens")
    reseal(bundle, bundle.parent / "builder.key")
    for make in (controller.make_low, controller.make_high):
        with pytest.raises(BundleError, match="no golden pair"):
            make(str(bundle), [str(bundle.parent / "builder.pub")])
        assert gc.isenabled(), "it was off while torch was imported"


@COMPILER
def test_a_program_is_exported_compiled_loaded_and_gives_its_golden_pair(tmp_path: Path) -> None:
    made = tiny_programs()
    only = {"decode": made["decode"]}
    pairs = goldens.draw(only)
    files = compiled.compile_all(only, tmp_path)
    packages = {name: path.read_bytes() for name, path in files.items()}
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    before = set(Path(tempfile.gettempdir()).glob("aotinductor_*"))
    functions = compiled.opened(packages, scratch)
    (compared,) = goldens.replay(pairs, functions, "cpu")
    assert compared.name == "decode" and compared.worst < 1.0
    assert set(Path(tempfile.gettempdir()).glob("aotinductor_*")) <= before, (
        "it was unpacked elsewhere, and stays there"
    )
    shutil.rmtree(scratch)
    other = goldens.draw({"decode": tiny_programs(seed=1)["decode"]})
    with pytest.raises(BundleError, match="golden pair 'decode' differs"):
        goldens.check(goldens.replay(other, functions, "cpu"))
    with pytest.raises(BundleError, match="program 'decode' cannot be loaded here"):
        compiled.opened({"decode": packages["decode"][:1000]}, tmp_path)
    with pytest.raises(BundleError, match="no golden pair for program 'decode'"):
        goldens.replay({}, functions, "cpu")


def tiny_programs(seed: int = 0) -> dict[str, compiled.Program]:
    level = tiny.low(seed).level
    return compiled.programs(level, limits_of(tiny.SPEC), tiny.SPEC.joints)


def test_inputs_that_begin_as_one_tensor_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.export takes a tensor that is given twice for a single input: the second would be ignored for ever."""
    exported: list[torch.export.ExportedProgram] = []
    monkeypatch.setattr(torch._inductor, "aoti_compile_and_package", lambda made, **_: exported.append(made))
    see = tiny_programs()["see"]
    window, mask, q, dq = see.inputs
    compiled.compile_all({"see": see}, tmp_path)
    inputs = window, mask, q + 0.3, dq - 0.7
    wanted = plain(tiny.low().level, limits_of(tiny.SPEC)).see(*inputs)
    call = exported[0].module()
    assert call(*inputs)[0] == pytest.approx(wanted, abs=1e-4)
    assert call(window, mask, q + 0.3, dq)[0] != pytest.approx(wanted, abs=1e-3), "dq makes no difference"


@pytest.mark.slow
@COMPILER
def test_a_compiled_bundle_is_built_and_its_golden_pairs_agree(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (("build", "badminton", "--out"), ("verify",)):
        with pytest.raises(SystemExit) as end:
            main(["deploy", *words, str(tmp_path / "bundle")])
        assert end.value.code == 0
    assert "19 files and 22 golden pairs are right" in " ".join(capsys.readouterr().out.split())
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["programs"] == "compiled" and "programs/iterate.pt2" in manifest["files"]
