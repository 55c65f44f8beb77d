"""pytest tests/integration/test_readme_commands.py: every command in a bash block of the documentation works.

Each is parsed, and its configuration loaded. Those that can be run here are run, in the order of their pages, as a
reader would who follows them in one folder; tests/documented.py says which cannot, and why.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hjepa import config
from hjepa.cli import options
from hjepa.cli.app import spread_sets
from hjepa.launching import graph
from tests.documented import (
    NOT_OURS,
    PAGES,
    ROOT,
    SHELL,
    Command,
    Reader,
    Words,
    blocks,
    commands,
    kept_for,
    key_of,
    runs_alike,
    verb_of,
    wanted_alive,
    why_not,
)

GROUPS = {  # pages that one reader follows; those that are named nowhere are the first reader's
    "operator": {"bus.md", "launch.md", "safety.md", "deploy.md", "doctor.md"},
    "researcher": {
        "tactics.md",
        "add_your_task.md",
        "bench.md",
        "scale.md",
        "results.md",
        "tune.md",
        "pictures.md",
        "quick_start.md",
    },
    "robot's owner": {"add_your_robot.md"},
}
READERS = ["first", *GROUPS]
GIVEN = """\
rally_id,rally_length,ball_round,type,landing_x,landing_y,frame_num,player_location_x,player_location_y,\
opponent_location_x,opponent_location_y,aroundhead,backhand,landing_height,lose_reason
7,6,1,short service,0.2,-0.4,100,180,620,170,300,0,1,2,
7,6,2,lob,0.8,1.5,122,175,330,178,560,0,0,1,
7,6,3,clear,-0.9,-1.4,160,250,780,180,350,1,0,1,
7,6,4,drop,0.4,0.5,196,90,190,176,560,0,0,2,
"""
BEFORE = {  # what a reader has done before, in words after `hjepa`
    "first": ["collect badminton --out data/swings --workers 1", "demo --log run.mcap"],  # `make collect`; a recording
    "researcher": ["demo --clock realtime --log run.mcap"],  # runs/demo, and a recording of a graph in real time
}


def pages_of(reader: str) -> list[Path]:
    named = set().union(*GROUPS.values())
    if reader == "first":
        return [page for page in PAGES if page.name not in named]
    return [page for page in PAGES if page.name in GROUPS[reader]]


def test_the_readme_shows_commands() -> None:
    shown = [command.text for command in commands()]
    assert "make demo" in shown
    assert any(command.startswith("hjepa eval") for command in shown)


@pytest.mark.parametrize("text", list(dict.fromkeys(command.text for command in commands())))
def test_command_of_the_documentation_is_valid(text: str) -> None:
    words = Command("", text).words
    name = words[0]
    if name == "make":
        target_known = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert target_known.returncode == 0, target_known.stderr
    elif name == "hjepa":
        check_hjepa(spread_sets(words[1:]))
    elif name == "torchrun":
        check_hjepa(words[words.index("hjepa.cli") + 1 :])
    elif name == "python" and words[1:3] == ["-m", "pytest"]:
        assert all((ROOT / word).exists() for word in words[3:] if not word.startswith("-"))
    elif name == "python":
        script = (ROOT / words[1]).read_text(encoding="utf-8")
        assert all(f'"{word}"' in script for word in words[2:] if word.startswith("--"))
    else:
        assert name in NOT_OURS | SHELL, f"no check for '{text}': add one, or name it in NOT_OURS"


def check_hjepa(words: Words) -> None:
    """Parse the words as the command line does, then load the configuration that they name, if it ships."""
    path, verb = verb_of(words)
    parameters = verb.make_context(verb.name, words[len(path) :]).params
    if path == ("launch",):
        graph.load(parameters["graph"], parameters["sets"] or [])
    elif str(parameters.get("config")) in config.names():
        sets = parameters.get("sets")
        if options.other_task(parameters["config"], sets, {}) is None:
            config.load(parameters["config"], sets or [])


def spares(name: str, line: Command, reader: str) -> bool:
    """Whether `reader` need not run a line of `name`'s pages: any other does as well, or it is left to `name`."""
    earlier = READERS.index(name) < READERS.index(reader)
    return (earlier and runs_alike(line.words)) or kept_for(line.words) == name


def spared(reader: str) -> list[Command]:
    """Lines that others run for this reader too."""
    others = [(name, line) for name in READERS if name != reader for line in commands(pages_of(name))]
    return [line for name, line in others if spares(name, line, reader)]


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_who_follows_the_pages_succeeds(
    reader: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path_factory.mktemp("reader")  # a short name: sockets' paths hold 107 bytes
    site = request.getfixturevalue("sample_site") if reader == "robot's owner" else None
    lines = [Command("(before)", f"hjepa {words}") for words in BEFORE.get(reader, [])] + commands(pages_of(reader))
    others = spared(reader)
    (folder / "val_given.csv").write_text(GIVEN, encoding="utf-8")  # of the challenge, from its own page
    described = next(text for page, text in blocks("yaml") if page.endswith("add_your_robot.md"))
    (folder / "twolink.yaml").write_text(described, encoding="utf-8")  # as the page shows it
    wrong = []
    with Reader(folder, site) as following:
        for ran in following.follow(lines, others):
            sys.stdout.write(f"{ran.cpu_s:6.1f} s of processor, {ran.wall_s:6.1f} s in all  {ran.command}\n")
            if ran.wrong:
                wrong.append(f"{ran.command}\n{ran.wrong}")
    assert not wrong, "\n\n".join(wrong)


def test_every_command_that_can_be_run_is_run_by_some_reader() -> None:
    runs: set[str] = set()
    for reader in READERS:
        left = {key_of(line.words) for line in spared(reader)}
        runs |= {key_of(line.words) for line in commands(pages_of(reader))} - left
    assert runs == {key_of(command.words) for command in commands()}


def test_commands_that_differ_in_more_than_a_size_are_both_run() -> None:
    more = ("", " --agent oracle", " --set low.most=3", " --json a.json")
    keys = [key_of(f"hjepa eval{words}".split()) for words in more]
    assert len(set(keys)) == len(keys)
    assert key_of(["hjepa", "eval", "--episodes", "30", "--set", "task.seed=4", "low.most=3"]) == keys[2]


def test_what_is_not_run_has_its_reason() -> None:
    reasons = {command.text: why_not(command.words) for command in commands()}
    run = [text for text, reason in reasons.items() if not reason]
    assert len(run) > 0.6 * len([text for text in reasons if text.startswith("hjepa")])
    assert reasons["make demo"].startswith("make")
    assert "GPU" in why_not(["hjepa", "deploy", "build", "--device", "cuda"])
    assert not why_not(["hjepa", "demo"])


@pytest.mark.parametrize(("page", "text"), blocks("python"))
def test_python_of_the_documentation_compiles_and_names_what_exists(page: str, text: str) -> None:
    tree = ast.parse(text, page)
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "hjepa"}
    import hjepa

    assert used <= set(hjepa.__all__)


def test_links_of_the_documentation_point_to_files() -> None:
    dead = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            generated = target.startswith("reference/")  # a page that the site generates; its own build checks it
            if "://" not in target and not generated and not (page.parent / target).exists():
                dead.append(f"{page.name}: {target}")
    assert not dead, dead


@pytest.mark.parametrize(
    ("left", "wanted"),
    [
        ([], False),
        (["hjepa config list", "hjepa bus list"], True),
        (["mkdir there", "hjepa view", "hjepa bus list"], False),  # the view needs the cores
        (["hjepa view --bus badminton-sim"], True),
        (["hjepa bus stats run.mcap"], False),  # of a file
    ],
)
def test_a_graph_plays_on_while_it_is_asked_again_before_another_needs_the_cores(left: list[str], wanted: bool) -> None:
    assert wanted_alive([Command("", text) for text in left]) == wanted
