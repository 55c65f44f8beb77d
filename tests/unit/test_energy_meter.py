"""pytest tests/unit/test_energy_meter.py: counters of energy in a folder that stands for the kernel's."""

import math
import sys
from pathlib import Path

import pytest

from hjepa.benches.energy import PackageMeter, gpu_power_w


def package(root: Path, name: str, microjoules: int, wraps: int = 1_000_000) -> Path:
    folder = root / name
    folder.mkdir()
    (folder / "max_energy_range_uj").write_text(f"{wraps}\n", encoding="ascii")
    counter = folder / "energy_uj"
    counter.write_text(f"{microjoules}\n", encoding="ascii")
    return counter


def test_the_packages_of_a_machine_are_summed_and_their_parts_not_counted_twice(tmp_path: Path) -> None:
    counters = [package(tmp_path, name, 100) for name in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0")]
    meter = PackageMeter(tmp_path)
    for counter, now in zip(counters, (500_100, 250_100, 400_100), strict=True):
        counter.write_text(f"{now}\n", encoding="ascii")
    assert meter.readable
    assert meter.spent_j() == pytest.approx(0.75)


def test_a_counter_that_begins_again_is_counted_on(tmp_path: Path) -> None:
    counter = package(tmp_path, "intel-rapl:0", 900_000)
    meter = PackageMeter(tmp_path)
    counter.write_text("100000\n", encoding="ascii")
    assert meter.spent_j() == pytest.approx(0.2)
    counter.write_text("300000\n", encoding="ascii")
    assert meter.spent_j() == pytest.approx(0.4)


@pytest.mark.parametrize("what", ["no folder", "an empty folder", "a counter that says nothing"])
def test_a_machine_that_does_not_tell_has_no_figure(tmp_path: Path, what: str) -> None:
    root = tmp_path / "powercap"
    if what != "no folder":
        root.mkdir()
    if what == "a counter that says nothing":
        package(root, "intel-rapl:0", 0).write_text("", encoding="ascii")
    meter = PackageMeter(root)
    assert not meter.readable
    assert math.isnan(meter.spent_j())


@pytest.mark.parametrize(
    ("said", "watts"), [("71.5\n60.5\n", 132.0), ("[N/A]\n", None), ("", None)], ids=["two GPUs", "no figure", "silent"]
)
def test_the_power_of_all_gpus_is_summed_where_it_is_told(said: str, watts: float | None) -> None:
    assert gpu_power_w((sys.executable, "-S", "-c", f"print({said!r}, end='')")) == watts


def test_a_machine_without_a_gpu_has_no_power() -> None:
    assert gpu_power_w(("no-such-program-here",)) is None
