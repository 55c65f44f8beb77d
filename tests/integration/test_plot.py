"""pytest tests/integration/test_plot.py: one real decision and its energies, ledgers of a recording, the verb."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from hjepa import api, build
from hjepa.bus import topics, wire
from hjepa.bus.logfile import About, LogWriter
from hjepa.cli.app import main
from hjepa.config import load
from hjepa.errors import DataError
from hjepa.evaluation.results import NOWHERE, Played, StrokeResult, write_csv
from hjepa.insight import decision, origin, timing
from hjepa.insight.pictures import MAKERS
from hjepa.insight.played import robot_shots
from hjepa.viewer import pictures

pytestmark = pytest.mark.sim
MS = 1_000_000


@pytest.fixture(scope="module")
def made() -> decision.Decided:
    """The first decision on one real stroke, by the shipped levels."""
    config = load("badminton", ["task.strokes=1"])
    system = api.load(config)
    return decision.decide(system, build.build_high(config), build.build_low(config, system.spec))


def test_the_centre_of_every_slice_is_the_plan(made: decision.Decided) -> None:
    for plane in decision.slices(made, 4):
        assert plane.energy.shape == (5, 5)
        assert (plane.x[2], plane.y[2]) == (0.0, 0.0)
        assert plane.energy[2, 2] == pytest.approx(made.energy, rel=1e-3, abs=1e-4)


def test_the_stiffest_directions_cost_more_than_the_softest(made: decision.Decided) -> None:
    stiff, soft, _ = decision.slices(made, 9)
    assert stiff.x[-1] < 0.5 * soft.x[-1]  # as wide as it takes to cost as much
    time = decision.slices(made, 9)[2]
    assert time.y[-1] == pytest.approx(decision.LATE_S)
    assert time.energy[0].min() > made.energy and time.energy[-1].min() > made.energy


def test_the_terms_of_a_plan_add_up_to_its_energy(made: decision.Decided) -> None:
    terms = decision.low_terms(made, 8)
    assert sum(float(value[0]) for value in terms.values()) == pytest.approx(made.energy, rel=1e-3, abs=1e-4)
    assert terms["effort"][0] > 0 and terms["haste"][0] > 0


def test_the_terms_of_the_shots_add_up_to_the_choice_that_was_made(made: decision.Decided) -> None:
    total = np.sum([*made.high_terms.values()], axis=0)
    assert total == pytest.approx(made.goal.energies)
    chosen = int(np.argmin(total))
    assert made.weighed.names.split("\n")[chosen] == made.goal.type
    assert made.weighed.target_xy_m[chosen] == pytest.approx(made.goal.target_xy_m)


def test_to_ask_for_the_objective_decides_nothing() -> None:
    config = load("badminton", ["task.strokes=1"])
    system = api.load(config)
    start, launch, seed = system.stroke(0)
    commands = []
    for ask in (False, True):
        high, low = build.build_high(config), build.build_low(config, system.spec)
        for part in (high, low):
            part.reset(seed)
        with system.world() as world:
            seen = world.reset(start, launch, seed)
            goal = None
            while goal is None:
                seen = world.tick()
                goal = high.decide(seen, lambda *goals, now=seen, to=low: to.reachability(now, *goals))
        if ask:
            low.objective(seen, goal)
        commands.append(low.plan(seen, goal))
    assert np.array_equal(commands[0].q_rad, commands[1].q_rad)


def record(path: Path, ledgers: list[topics.Ledger]) -> Path:
    with LogWriter(path) as log:
        for k, ledger in enumerate(ledgers):
            log.write("ledger", wire.encode(wire.Header("ledger", 1, k, 0, scalars=ledger._asdict())), k)
    return path


def test_ledgers_are_read_from_a_recording(tmp_path: Path) -> None:
    stamps = [1000, 1004, 1010, 1011, 1020]
    one = topics.Ledger(0, *(ms * MS for ms in stamps), due_ns=1030 * MS, late=False)
    two = topics.Ledger(1, *(ms * MS for ms in stamps), due_ns=1015 * MS, late=True)
    found = timing.read(record(tmp_path / "run.mcap", [one, two]))
    assert found.legs_ms.tolist() == [[4, 6, 1, 9]] * 2
    assert found.whole_ms.tolist() == [20, 20]
    assert found.slack_ms.tolist() == [10, -5]
    assert found.late.tolist() == [False, True]
    with pytest.raises(DataError, match="no command with a ledger"):
        timing.read(record(tmp_path / "empty.mcap", []))


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_landings_of_an_earlier_run_are_drawn_without_playing(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api, "play", None)
    hit = StrokeResult(id="1", hit=True, returned=True, commanded_type="lob", target_xy_m=(6, 1), landing_xy_m=(6, 1.5))
    write_csv(tmp_path / "strokes.csv", [hit, StrokeResult(id="2", fault="miss")])
    assert run("plot", "landing", "strokes.csv", "--out", "made", "--format", "svg") == 0
    assert "1 of 2 strokes returned, 0.50 m from the target" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["landing.csv", "landing.svg"]
    with (tmp_path / "made" / "landing.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["landing_error_m"] for row in rows] == ["0.5", ""]


def test_a_picture_that_a_file_is_not_enough_for_is_refused(tmp_path: Path, capsys) -> None:
    write_csv(tmp_path / "strokes.csv", [])
    assert run("plot", "latent", str(tmp_path / "strokes.csv"), "--out", str(tmp_path / "made")) == 2
    assert "allowed from such a file: landing, shots" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_the_verb_knows_every_kind_there_is() -> None:
    assert tuple(MAKERS) == pictures.KINDS


def test_a_stroke_without_a_recording_has_no_point_of_contact() -> None:
    hit = StrokeResult(id="1", hit=True, realised_type="lob", landing_xy_m=(6.0, 1.0))
    shots = robot_shots([Played(hit), Played(StrokeResult(id="2", landing_xy_m=NOWHERE))])
    assert shots.landing_m.tolist() == [[6.0, 1.0]] and np.isnan(shots.hit_m).all()
    assert shots.kind.tolist() == [7]


@pytest.mark.parametrize("what", ["latent", "probes", "energy"])
def test_a_picture_is_made_from_an_empty_folder(what: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("plot", what, "--quick", "--format", "png", "--out", "made") == 0
    assert f"written to made/: {what}.png, {what}.csv" in capsys.readouterr().out.replace("\n", " ")
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [f"{what}.csv", f"{what}.png"]


@pytest.mark.slow
def test_all_pictures_are_made_from_an_empty_folder(tmp_path: Path, monkeypatch) -> None:
    """Half a minute: strokes are played, some in real time."""
    monkeypatch.chdir(tmp_path)
    assert run("plot", "all", "--quick", "--out", "made") == 0
    assert len(list((tmp_path / "made").iterdir())) == 3 * len(pictures.KINDS)


def test_the_small_print_names_the_weights_that_were_used_and_no_others(tmp_path: Path) -> None:
    def said(agent: str) -> str:
        return origin.small_print(load("badminton", [f"agent.name={agent}"]), "configs/badminton.yaml")

    assert re.search(r"badminton.yaml, courtbot, agent hjepa; seed 0; weights high \w{8}, low \w{8}$", said("hjepa"))
    assert re.search(r"agent bc; seed 0; weights bc \w{8}$", said("bc"))
    assert said("classical").endswith("agent classical; seed 0")
    write_csv(tmp_path / "strokes.csv", [])
    assert "weights" not in origin.of_file(tmp_path / "strokes.csv")
    path = tmp_path / "a.mcap"
    with LogWriter(path, About(seeds={"task": 7}, weights={"low": "f" * 64}, versions={"hjepa": "0.0.9"})):
        pass
    of_recording = origin.of_recording(path, timing.recording(path).about)
    assert of_recording.endswith("a.mcap, recorded by hjepa 0.0.9; seed 7; weights low ffffffff")
