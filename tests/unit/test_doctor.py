"""hjepa doctor: what it says of machines that lack something, and that every remark comes with a remedy."""

import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from hjepa.cli import doctor as verb
from hjepa.cli import main
from hjepa.deploy import doctor
from hjepa.deploy.examine.machine import Disk, Machine, TorchFacts

GIB = 2**30
REQUIREMENTS = ("numpy>=1.26", 'torch==2.13.0; extra == "learn"', 'mcap>=1.3; extra == "log"')
CUDA = TorchFacts("2.13.0+cu130", "13.0", True, ((9, 0),), ("sm_80", "sm_90"))
SMI = "NVIDIA H100, 580.65.06, 81559 MiB\n"
FILES = {
    "proc/cpuinfo": "model name : Some CPU\nflags : fpu avx2 avx512f\n",
    "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\nSwapTotal: 0 kB\n",
    "proc/stat": "cpu 100 0 100 800 0 0 0 0 0 0\n",
    "proc/version": "Linux version 6.8.0-rt (x) #1 SMP PREEMPT_RT\n",
    "proc/sys/kernel/osrelease": "6.8.0-rt\n",
    "proc/self/limits": "Max locked memory unlimited unlimited bytes\nMax realtime priority 95 95\n",
    "proc/self/cgroup": "0::/robot.slice/graph.service\n",
    "sys/kernel/realtime": "1\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/fs/cgroup/robot.slice/cpu.max": "max 100000\n",
    "sys/class/net/lo/operstate": "unknown\n",
    "sys/class/net/eth0/operstate": "up\n",
    "sys/class/net/eth0/mtu": "1500\n",
}


@pytest.fixture
def make(tmp_path):
    """make(files, **calls): a machine on which all is well, except for what is given."""

    def make(files=None, **calls) -> Machine:
        for name, text in (FILES | (files or {})).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        well = {
            "run": lambda argv: SMI if argv[0] == "nvidia-smi" else "g++ 13.2\n",
            "find": lambda name: f"/usr/bin/{name}",
            "torch": lambda: CUDA,
            "version": {"torch": "2.13.0", "numpy": "2.4", "mcap": "1.6"}.get,
            "requirements": lambda: REQUIREMENTS,
            "zmq": lambda: ("4.3.5", True),
            "bind_loopback": lambda: "",
            "disk": lambda folder: Disk(100 * GIB, ""),
            "refused_fifo": lambda: 0,
            "refused_memlock": lambda: 0,
            "wakes_ms": lambda seconds: np.full(100, 0.1),
            "cpus": lambda: {0, 1, 2, 3},
            "load": lambda: 0.5,
        }
        return Machine(proc=tmp_path / "proc", sys=tmp_path / "sys", work=tmp_path, cache=tmp_path, **(well | calls))

    return make


def found(machine: Machine):
    findings = doctor.examine(machine)
    for finding in findings:
        assert finding.seen and bool(finding.remedy) == (finding.state != "ok"), finding
        assert "\n" not in finding.seen + finding.remedy, finding
    assert len({finding.name for finding in findings}) == len(findings)
    return {finding.name: finding for finding in findings}


def test_nothing_is_said_against_a_machine_on_which_all_is_well(make):
    assert [f for f in found(make()).values() if f.state != "ok"] == []


def test_no_gpu_is_worth_a_note(make):
    nothing = make(run=lambda argv: None, torch=lambda: TorchFacts("2.13.0+cpu"))
    assert found(nothing)["gpu"][1:3] == ("note", "no NVIDIA GPU: planning runs on the CPU")
    assert found(nothing)["torch"][1:3] == ("ok", "2.13.0+cpu, CPU build")


def test_a_gpu_without_a_driver_is_found_on_the_pci_bus(make):
    pci = {"sys/bus/pci/devices/01/vendor": "0x10de\n", "sys/bus/pci/devices/01/class": "0x030200\n"}
    finding = found(make(pci, run=lambda argv: None))["gpu"]
    assert finding.state == "warn" and "ubuntu-drivers" in finding.remedy


def test_a_driver_that_finds_no_gpu(make):
    text = {"proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Module  580.65.06  Sun\nGCC\n"}
    finding = found(make(text, run=lambda argv: None))["gpu"]
    assert finding.state == "warn" and "580.65.06" in finding.seen


@pytest.mark.parametrize(
    ("facts", "said", "remedy"),
    [
        (TorchFacts("2.13.0+cpu"), "CPU build beside a NVIDIA H100", "whl/cu130"),
        (CUDA._replace(available=False, error="driver too old"), "driver 580.65.06: driver too old", "update"),
        (CUDA._replace(capabilities=((7, 0),)), "no code for compute capability 7.0", "cu126"),
        (CUDA._replace(version="2.12.1+cu130"), "tested with 2.13.0", "torch==2.13.0"),
    ],
)
def test_torch_that_does_not_fit_is_a_warning(make, facts, said, remedy):
    finding = found(make(torch=lambda: facts))["torch"]
    assert finding.state == "warn" and said in finding.seen and remedy in finding.remedy


def test_code_for_a_lower_minor_version_or_as_ptx_runs(make):
    for built_for in (("sm_86",), ("compute_80",)):
        facts = CUDA._replace(capabilities=((8, 9),), built_for=built_for)
        assert found(make(torch=lambda facts=facts: facts))["torch"].state == "ok"


@pytest.mark.parametrize(
    ("facts", "said"), [(None, "crashes or hangs"), (TorchFacts(error="no libcudart"), "imported: no libcudart")]
)
def test_torch_that_cannot_be_imported_fails(make, facts, said):
    finding = found(make(torch=lambda: facts))["torch"]
    assert finding.state == "fail" and said in finding.seen


def test_a_robots_computer_needs_no_torch_and_no_compiler(make):
    base = make(version={"numpy": "2.4", "mcap": "1.6"}.get, torch=lambda: pytest.fail("asked"), find=lambda name: None)
    assert found(base)["torch"].state == found(base)["compiler"].state == "note"
    assert doctor.works(doctor.examine(base))


@pytest.mark.parametrize(
    ("files", "name", "said"),
    [
        ({"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave"}, "frequency", "powersave"),
        ({"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"}, "clocks", "hpet"),
        ({"sys/fs/cgroup/robot.slice/cpu.max": "150000 100000"}, "processors", "1.5"),
        ({"proc/cpuinfo": "flags : fpu sse2"}, "processor", "no vector unit"),
        ({"proc/meminfo": "MemTotal: 4194304 kB\nMemAvailable: 524288 kB\n"}, "memory", "0.5 of 4.0 GiB"),
        ({"sys/fs/cgroup/robot.slice/memory.max": str(GIB // 2)}, "memory", "limited to 0.5 GiB"),
    ],
)
def test_what_the_system_files_tell(make, files, name, said):
    finding = found(make(files))[name]
    assert finding.state == "warn" and said in finding.seen


def test_a_quota_of_the_first_version_of_control_groups(make):
    files = {
        "proc/self/cgroup": "2:cpu,cpuacct:/\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
    }
    assert "lets it use 0.5" in found(make(files))["processors"].seen
    unlimited = files | {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1"}
    assert found(make(unlimited))["processors"].state == "ok"


def test_a_kernel_that_is_not_real_time_is_worth_a_note(make):
    files = {"proc/version": "Linux 6.8 #1 SMP PREEMPT_DYNAMIC Mon", "sys/kernel/realtime": ""}
    assert found(make(files))["kernel"][1:3] == ("note", "6.8.0-rt, PREEMPT_DYNAMIC")


def test_no_real_time_priority_and_no_locked_memory_name_the_limits(make):
    limits = {"proc/self/limits": "Max locked memory 8388608 8388608 bytes\nMax realtime priority 0 0\n"}
    told = found(make(limits, refused_fifo=lambda: errno.EPERM, refused_memlock=lambda: errno.EPERM))
    assert told["priority"].state == told["memory lock"].state == "warn"
    assert "limit 0" in told["priority"].seen and "LimitRTPRIO" in told["priority"].remedy
    assert "limit 8 MiB" in told["memory lock"].seen and "memlock unlimited" in told["memory lock"].remedy


def test_late_wake_ups_and_a_busy_machine_are_warnings(make):
    late = np.append(np.full(99, 0.1), 6.0)
    assert found(make(wakes_ms=lambda seconds: late))["wake-ups"].state == "warn"
    assert found(make(load=lambda: 3.5))["load"].state == "warn"


def test_time_that_a_hypervisor_takes_while_wake_ups_are_measured_is_a_warning(make, tmp_path):
    def steal(seconds):
        (tmp_path / "proc/stat").write_text("cpu 150 0 150 880 0 0 0 20 0 0\n")
        return np.full(50, 0.1)

    assert "takes 10.0% of the time" in found(make(wakes_ms=steal))["load"].seen


def test_a_full_disk_fails(make):
    full = make(disk=lambda folder: Disk(0, "No space left on device"))
    told = found(full)
    assert told["disk"].state == told["cache"].state == "fail" and "0.0 GiB free" in told["disk"].seen
    assert not doctor.works(doctor.examine(full))


def test_a_folder_that_cannot_be_written_fails(make):
    told = found(make(disk=lambda folder: Disk(GIB * 9, "Read-only file system")))
    assert told["disk"].state == "fail" and "Read-only" in told["disk"].seen
    assert told["cache"].state == "warn"  # nothing but speed is lost


def test_a_missing_package_fails_and_a_missing_extra_does_not(make):
    told = found(make(version={"torch": "2.13.0"}.get))
    assert told["packages"].state == "fail" and told["packages"].remedy == "pip install numpy"
    assert told["extras"].state == "note" and told["extras"].remedy == "pip install 'hjepa[log]'"


@pytest.mark.parametrize("damage", [b"", b"version https://git-lfs.github.com/spec/v1", b"\x02" + b"\0" * 7 + b"[]"])
def test_damaged_weights_fail(make, tmp_path, damage):
    shipped = Machine().weights
    for name in ("low", "high"):
        (tmp_path / f"{name}.safetensors").write_bytes((shipped / f"{name}.safetensors").read_bytes())
    assert found(make(weights=tmp_path))["weights"].state == "ok"
    (tmp_path / "low.safetensors").write_bytes(damage)
    assert "low.safetensors: " in found(make(weights=tmp_path))["weights"].seen
    cut = (shipped / "low.safetensors").read_bytes()[:-7]
    (tmp_path / "low.safetensors").write_bytes(cut)
    assert "low.safetensors: 7 bytes are missing" in found(make(weights=tmp_path))["weights"].seen
    (tmp_path / "low.safetensors").unlink()
    assert found(make(weights=tmp_path))["weights"].state == "fail"


def test_the_network_is_looked_at(make):
    told = found(make({"sys/class/net/eth0/operstate": "down"}, zmq=lambda: ("4.3.5", False)))
    assert told["network"].state == "note" and told["zmq"].state == "warn"
    told = found(make(zmq=lambda: None, bind_loopback=lambda: "Permission denied"))
    assert told["zmq"].state == told["loopback"].state == "fail"


def test_a_terminal_gets_a_table(make):
    console = Console(width=200, record=True, file=io.StringIO(), force_terminal=True)
    console.print(verb._table(doctor.examine(make(refused_fifo=lambda: errno.EPERM))))
    (line,) = [line for line in console.export_text().splitlines() if "SCHED_FIFO is refused" in line]
    assert line.split()[:2] == ["warn", "priority"]


def test_this_machine_is_examined_and_left_alone(capsys, tmp_path):
    before = os.sched_getscheduler(0), Path("/proc/self/limits").read_text()
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--quick", "--json", str(tmp_path / "d.json")])
    assert (os.sched_getscheduler(0), Path("/proc/self/limits").read_text()) == before
    said = capsys.readouterr().out
    written = json.loads((tmp_path / "d.json").read_text())
    assert stopped.value.code == (0 if written["ok"] else 1)
    for finding in written["findings"]:
        assert f"{finding['state']:4} {finding['name']}: {finding['seen']}\n" in said
