"""pytest tests/integration/test_cli_errors.py: a mistake is one clear line on stderr, exit code 2, nothing written."""

import subprocess
import sys
from pathlib import Path

import pytest

from hjepa.cli.app import main, spread_sets

ROOT = Path(__file__).parent.parent.parent
HEADER = "id,type,x0,y0,z0,vx,vy,vz\n"


def fails(capsys: pytest.CaptureFixture[str], folder: Path, *words: str, lines: int = 1) -> str:
    """Run the command line in an empty folder; it must fail as described. Returns what it said."""
    before = sorted(folder.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main(words)
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert said.out == ""
    assert len(said.err.splitlines()) == lines, said.err
    assert said.err.startswith("hjepa: ")
    assert sorted(folder.rglob("*")) == before
    return said.err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("verb", ["demo", "eval"])
def test_unknown_key_in_a_file(verb: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yaml").write_text("low:\n  candidate: 3\n")
    said = fails(capsys, folder, verb, "mine.yaml")
    assert "mine.yaml:2: low.candidate: unknown key; did you mean 'candidates'?" in said


def test_every_mistake_of_a_file_has_its_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yaml").write_text("low:\n  candidate: 3\n  planner: best\n")
    said = fails(capsys, folder, "eval", "mine.yaml", lines=2)
    assert "mine.yaml:3: low.planner: must be 'gradient', 'cem', 'icem' or 'mppi', got \"best\"" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["demo", "badmington"], "did you mean 'badminton'?"),
        (["demo", "--set", "low.candidats=3"], "did you mean 'candidates'?"),
        (["eval", "badminton", "--agent", "oracel"], "did you mean 'oracle'?"),
        (["eval", "badminton", "--clock", "fast"], "allowed: lockstep, realtime"),
        (
            ["eval", "badminton", "--feed", "none.csv"],
            "give an existing .csv file, or one of: test, val, train, random",
        ),
        (["eval", "badminton", "--episodes", "0"], "'--episodes'"),
        (["eval"], "Missing argument 'CONFIG'"),
        (["evaluate"], "No such command 'evaluate'"),
        (["demo", "--stroke", "3"], "No such option: --stroke"),
        (["train", "middle"], "'low', 'high', 'rally', 'cover', 'observer', 'bc'"),
        (["train", "low", "--data", "nowhere"], "fill it with `hjepa collect --out nowhere`"),
        (["train", "low"], "fill it with `hjepa collect --out data/swings`"),
        (["train", "bc", "--workers", "0"], "'--workers'"),
        (["train", "high", "--device", "tpu"], "--device tpu; allowed: auto, cpu, cuda"),
        (
            ["train", "rally", "--device", "cuda"],
            "--device: rally trains on the CPU; allowed: leave it out, or low, high",
        ),
        (["train", "low", "reach", "--device", "cpu"], "--device: task 'reach' has no such option"),
        (["collect", "reach", "--ray", "local"], "--ray: task 'reach' has no such option"),
        (["collect", "--driver", "ideal", "--ray", "auto"], "--ray: a driver moves its robot from this machine"),
        (["eval", "reach", "--report", "page.html"], "--report: task 'reach' has no such option"),
        (["eval", "badminton", "--report", "page.pdf"], "give a name that ends in .html"),
        (["plot", "latant"], "did you mean 'latent'?"),
        (["plot", "latent", "--format", "jpg"], "--format 'jpg': unknown; did you mean 'png'? allowed: png, svg"),
        (["plot", "landing", "none.csv"], "none.csv: no such file"),
        (["plot", "ledger", "none.mcap"], "none.mcap: no such file"),
        (["plot", "energy", "reach"], "pictures are of task 'badminton'"),
        (["plot", "energy", "--quick", "--agent", "classical"], "agent.name one of hjepa, reactive, coded-goal"),
        (["config", "badminton", "--set", "world.dropout=1.5"], "must be less than 1, got 1.5"),
    ],
)
def test_wrong_words(words: list[str], expected: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert expected in fails(capsys, folder, *words)


def test_output_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "file").write_text("")
    assert "this is a file; give a folder" in fails(capsys, folder, "demo", "--out", "file")
    assert "cannot write in" in fails(capsys, folder, "demo", "--out", "file/below")
    assert "--data file: this is a file; give a folder" in fails(capsys, folder, "train", "bc", "--data", "file")
    assert "give a file name" in fails(capsys, folder, "eval", "badminton", "--json", str(folder))


def test_missing_weights(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, folder, "demo", "--set", "agent.weights=nowhere", "--out", "made/here")
    assert "nowhere" in said


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("1,clear,5,0,2,-20,0,5\n2,smash,5,0,two,-20,0,5\n", "line 3, column 'z0': 'two'; allowed: a number"),
        ("1,clear,5,0,2,-20,0\n", "line 2: 8 columns"),
        ("1,lob,5,0,2,-20,0,inf\n", "line 2, column 'vz': 'inf'"),
        ("1,slam,5,0,2,-20,0,5\n", "column 'type': 'slam'"),
        ("1,clear,-5,0,2,-20,0,5\n", "column 'x0': '-5'; allowed: a number in 0 to 8"),
        ("1,clear,5,0,2,-1,0,0\n", "infeasible feed"),
        ("", "no feeds"),
    ],
)
def test_malformed_feed(rows: str, expected: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "own.csv").write_text(HEADER + rows)
    said = fails(capsys, folder, "eval", "badminton", "--feed", "own.csv", "--json", "out.json")
    assert "own.csv" in said
    assert expected in said


def test_help_version_and_config_do_not_fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["demo", "--help"], ["--version"], ["config", "badminton"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 0
        assert capsys.readouterr().out


def test_help_is_quick_because_it_loads_no_heavy_library() -> None:
    code = (
        "import sys\nfrom hjepa.cli.app import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    print('LOADED', *sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = set(out.partition("LOADED")[2].split())
    assert loaded
    assert not {"torch", "pybullet", "matplotlib", "av", "asyncio", "hjepa.api"} & loaded


def test_set_takes_several_words() -> None:
    words = ["eval", "b", "--set", "a.b=1", "c.d=2", "--seed", "3", "x=y"]
    assert spread_sets(words) == ["eval", "b", "--set", "a.b=1", "--set", "c.d=2", "--seed", "3", "x=y"]
    assert spread_sets(["--set"]) == ["--set"]
