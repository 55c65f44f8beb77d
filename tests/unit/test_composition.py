"""pytest tests/unit/test_composition.py: parts by name, files of differences, where each value comes from."""

import json
import re
from pathlib import Path

import pytest

from hjepa import config as c
from hjepa import explaining
from hjepa.config_low import LowSection
from hjepa.errors import ConfigError
from hjepa.tasks.reach.settings import ReachSettings


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path | str, overrides: tuple[str, ...] = (), files: tuple[Path, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        c.load(path, overrides, files)
    return str(caught.value).splitlines()


def test_later_wins_parts_then_own_keys_then_files_then_overrides(tmp_path: Path) -> None:
    own = write(tmp_path, "use: {planner: cem}\nlow: {elites: 20}\n")
    tuned = write(tmp_path, "low: {elites: 30, iterations: 5}\n", "tuned.yaml")
    again = write(tmp_path, "low: {iterations: 6}\n", "again.yaml")
    assert (c.load(own).low.planner, c.load(own).low.elites, c.load(own).low.candidates) == ("cem", 20, 128)
    low = c.load(own, files=[tuned, again]).low
    assert (low.elites, low.iterations, low.planner) == (30, 6, "cem")
    assert c.load(own, ["low.elites=40"], [tuned]).low.elites == 40


def test_a_part_named_later_replaces_the_one_before_altogether() -> None:
    few = c.load("badminton", ["use.planner=few"]).low
    assert (few.most, few.budget_ms) == (64, 8)
    low = c.load("badminton", ["use.planner=few", "use.planner=mppi"]).low
    assert (low.planner, low.most, low.budget_ms) == ("mppi", 0, 25)


def test_a_part_on_the_command_line_counts_before_the_keys_beside_it_whatever_their_order() -> None:
    low = c.load("badminton", ["low.candidates=64", "use.planner=cem"]).low
    assert (low.planner, low.candidates) == ("cem", 64)


def test_a_file_of_differences_may_name_parts(tmp_path: Path) -> None:
    diff = write(tmp_path, "use: {run: realtime}\n")
    assert c.load("badminton", files=[diff]).run.clock == "realtime"


def test_parts_of_ones_own_are_paths_relative_to_the_file(tmp_path: Path) -> None:
    write(tmp_path, "low: {iterations: 9}\n", "parts/slow.yaml")
    own = write(tmp_path, "use:\n  planner: parts/slow.yaml\n")
    assert c.load(own).low.iterations == 9
    (line,) = problems(write(tmp_path, "use:\n  planner: parts/fast.yaml\n"))
    assert line.startswith(f"{own}:2: use.planner: no such file")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("use: {planner: cme}\n", ":1: use.planner: no part 'cme'; did you mean 'cem'? allowed: cem, few"),
        ("use:\n  plannr: cem\n", ":2: use.plannr: unknown group; did you mean 'planner'?"),
        ("use: cem\n", ":1: use: must name a part for each group"),
        ("use: {planner: [cem]}\n", ":1: use.planner: no part '['cem']'"),
        ("use: {planner: ../run/lockstep}\n", ":1: use.planner: no part '../run/lockstep'"),
    ],
)
def test_a_part_that_is_not_there_is_named_with_its_line(text: str, says: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    (line,) = problems(path)
    assert line.startswith(f"{path}{says}")


def test_a_part_holds_only_the_sections_of_its_group(tmp_path: Path) -> None:
    part = write(tmp_path, "low: {iterations: 2}\ntask: {seed: 1}\nuse: {run: lockstep}\n", "part.yaml")
    found = problems(write(tmp_path, "use: {planner: part.yaml}\n"))
    assert found == [
        f"{part}:2: task: a part of group 'planner' holds only low; allowed: low",
        f"{part}:3: use: a part of group 'planner' holds only low; allowed: low",
    ]


def test_no_file_hides_another_ones_mistake(tmp_path: Path) -> None:
    own, diff = write(tmp_path, "low: {iterations: many}\n"), write(tmp_path, "low: {iterations: 2}\n", "diff.yaml")
    (line,) = problems(own, ("low.iterations=3",), (diff,))
    assert line == f'{own}:1: low.iterations: must be a valid integer, got "many"'


def test_mistakes_of_all_files_come_at_once_in_their_order(tmp_path: Path) -> None:
    own, diff = write(tmp_path, "low: {iteratons: 2}\n"), write(tmp_path, "high: {candidates: 0}\n", "diff.yaml")
    found = problems(own, ("run.clock=fast",), (diff,))
    assert [line.split(": ")[0] for line in found] == [f"{own}:1", f"{diff}:1", "--set run.clock=fast"]


def test_every_value_knows_where_it_comes_from(tmp_path: Path) -> None:
    diff = write(tmp_path, "# tuned\nhigh:\n  candidates: 9\n")
    lines = c.trace(c.Config, c.find("badminton"), [diff, "use.planner=cem", "low.weights={goal: 2.0}"]).lines
    configs = c.resource("configs")
    assert explaining.origin(("high", "candidates"), lines) == f"{diff}:3"
    assert explaining.origin(("low", "weights", "goal"), lines) == "--set low.weights={goal: 2.0}"
    assert explaining.origin(("low", "weights", "net"), lines) == "default"
    assert explaining.origin(("low", "adapt"), lines) == "default"
    assert explaining.origin(("low", "planner"), lines).endswith("configs/planner/cem.yaml:3")
    text = (configs / "badminton.yaml").read_text().splitlines()
    place = explaining.origin(("low", "latency_ms"), lines)
    assert "configs/badminton.yaml:" in place
    assert "latency_ms" in text[int(place.rpartition(":")[2]) - 1]


def test_what_is_explained_loads_back_and_tells_unit_range_meaning_and_origin(tmp_path: Path) -> None:
    read = c.trace(c.Config, c.find("badminton"), ["low.budget_ms=12"])
    text = explaining.explained(read.value, read.lines)
    assert c.load(write(tmp_path, text)) == read.value
    above, line = next((a, b) for a, b in zip(text.splitlines(), text.splitlines()[1:]) if b.startswith("  budget_ms"))
    assert above == (
        "  # realtime: a search begins no iteration that would end later than this [ms; whole numbers from 1 to 2000]"
    )
    assert line.split() == ["budget_ms:", "12", "#", "--set", "low.budget_ms=12"]
    only = explaining.explained(read.value, read.lines, "low.weights")
    assert "\nlow:\n  # Weights of the terms of the low level's energy" in only
    assert "candidates" not in only
    with pytest.raises(ConfigError, match=r"low.weihgts: no such key or section; did you mean 'low.weights'"):
        explaining.explained(read.value, read.lines, "low.weihgts")


def test_ranges_in_words() -> None:
    assert explaining.range_of(c.WorldSection, "dropout") == "numbers from 0 to below 1"
    assert explaining.range_of(LowSection, "replan_period_ms") == "whole numbers from 10 to 1000, in steps of 10"
    assert explaining.range_of(c.RandomFeed, "flight_s") == "2 values, numbers from 0.1 to 5"
    assert explaining.range_of(c.HighSizes, "latent") == "whole numbers from 4 to 512 or null"
    assert explaining.range_of(c.RunSection, "clock") == "lockstep, realtime"
    assert explaining.range_of(c.AgentSection, "weights") == ""


def test_the_schema_tells_units_ranges_meanings_and_parts() -> None:
    made = json.loads(json.dumps(explaining.schema(c.Config, c.parts())))
    latency = made["$defs"]["LowSection"]["properties"]["latency_ms"]
    assert (latency["unit"], latency["minimum"], latency["maximum"], latency["type"]) == ("ms", 0, 2000, "integer")
    assert latency["description"] == "planning time charged to the clock in lockstep [ms]"
    assert made["$defs"]["LowSection"]["additionalProperties"] is False
    use = made["properties"]["use"]["properties"]
    assert list(use) == list(c.GROUPS)
    assert "cem" in use["planner"]["anyOf"][0]["enum"]
    assert "levels" not in explaining.schema(ReachSettings, c.parts())["properties"]


def test_every_number_with_a_unit_in_its_name_says_it() -> None:
    suffixes = {"_ms": "ms", "_m_s": "m/s", "_rad_s": "rad/s", "_rad": "rad", "_m": "m", "_s": "s"}
    for value in (c.Config(), ReachSettings()):
        for at, field, _ in explaining.leaves(value):
            wanted = next((unit for suffix, unit in suffixes.items() if at[-1].endswith(suffix)), None)
            assert wanted is None or explaining.unit_of(field) == wanted, at


def test_numbers_have_an_upper_bound() -> None:
    """A value in a wrong unit is mostly a thousand times too large."""
    for value in (c.Config(), ReachSettings()):
        for at, _, found in explaining.leaves(value):
            if isinstance(found, int | float) and not isinstance(found, bool):
                section = value
                for name in at[:-1]:
                    section = getattr(section, name)
                assert "to " in explaining.range_of(type(section), at[-1]) or "below" in explaining.range_of(
                    type(section), at[-1]
                ), at


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("low: {latency_ms: 30 ms}", 'low.latency_ms: must be a number of ms, got "30 ms"; write 30'),
        ("low: {latency_ms: 0.03 s}", 'got "0.03 s"; write 30 (0.03 s in ms)'),
        ("low: {latency_ms: 3 kg}", "write the number alone, in ms, not 'kg'"),
        ("low: {latency_s: 0.03}", "low.latency_s: unknown key; did you mean 'latency_ms'? (in ms)"),
        ("world: {dropout: 2 %}", 'must be a share, a number, got "2 %"; write 0.02 (2 % as a share)'),
        ("low: {latency_ms: 30000}", "must be less than or equal to 2000, got 30000 (ms)"),
        ("task: {random: {flight_s: [1.8, 0.8]}}", "task.random.flight_s: must be a range, the lower end first"),
    ],
)
def test_a_value_in_another_unit_is_refused_with_what_to_write(written: str, says: str, tmp_path: Path) -> None:
    (line,) = problems(write(tmp_path, written + "\n"))
    assert says in line


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"low: &a {iterations: 2}\nhigh: *a\n", ":2: not YAML: alias *a: write the value out"),
        (b"low:\n  <<: {iterations: 2}\n", ":2: low.<<: unknown key"),
        (b"low:\n  iterations: !!int 2\n", ":2: not YAML: tag tag:yaml.org,2002:int"),
        (b"low:\n  iterations: 2\n\x00", ":3: not text: control character #x00"),
        ("low:\n  iterations: 2\n".encode("utf-16"), ":1: not UTF-8 text"),
        (b"low: " + b"[" * 3000, ":1: not YAML: nested more than 20 deep"),
        (b"low:\n  iterations: 1:30\n", ':2: low.iterations: must be a valid integer, got "1:30"'),
        (b"low:\n  iterations: 0x10\n", ':2: low.iterations: must be a valid integer, got "0x10"'),
        (b"low:\n  iterations: " + b"9" * 6000 + b"\n", ":2: low.iterations: must be a valid integer"),
        (b"low:\n  accept_margin: 1e999\n", ":2: low.accept_margin: must be a finite number, got Infinity"),
        (b"low:\n  iterations: 2\n---\nlow: {}\n", ":3: not YAML: but found another document"),
        (b"null: 2\n", ":1: null: unknown key"),
        (b"low:\n  1: 2\n", ":2: low.1: unknown key"),
        (b"? [a]\n: 2\n", ":1: not YAML: a key must be a word"),
        (b"# " + b"x" * 1_100_000, ":1: 1100002 bytes are no configuration"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_in_one_line(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(data)
    (line,) = problems(path)
    assert line.startswith(f"{path}{says}")
    assert len(line) < 400


def test_a_mark_at_the_beginning_that_some_editors_write_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes("low: {iterations: 2}\n".encode("utf-8-sig"))
    assert c.load(path).low.iterations == 2


def test_every_example_of_the_page_about_configuration_loads(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent.parent / "docs" / "configuration.md"
    examples = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(examples) == 9
    for text in examples:
        assert (
            c.load(write(tmp_path, text)) != c.Config() or "latency_ms: 30 " in text or "surprise:" in text
        )  # these show defaults


def test_differences_of_two_configurations() -> None:
    other = c.load("badminton", ["low.iterations=7", "run.clock=realtime"])
    assert list(explaining.difference(c.load("badminton"), other)) == [
        ("low.iterations", 3, 7),
        ("run.clock", "lockstep", "realtime"),
    ]
