"""Commands of the documentation: found, told apart, and run as a reader would run them, in a folder that stands for the
reader's checkout. Long verbs run with their --quick; what cannot be run here has its reason.
"""

from __future__ import annotations

import io
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import typer

from hjepa.cli import main
from hjepa.cli.app import app, spread_sets
from tests.launched import HJEPA, Launched

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
LIMIT_S = 60.0  # processor time of a command: a --quick that takes longer is not quick
PATIENCE_S = 240.0  # on the wall, on a busy machine

Words = list[str]
NOT_OURS = {
    "git",
    "cd",
    "pip",
    "uv",
    "tensorboard",
    "ray",
    "nvidia-smi",
}  # said to the reader, nothing of ours to check
SHELL = {"cp", "mkdir"}  # run as they stand

# Why a command is parsed and not run: the first rule that fits it.
RULES: list[tuple[str, Callable[[Words], bool]]] = [
    ("make: sets itself up, and runs for minutes; resolved with make -n", lambda w: w[0] == "make"),
    ("a program of others", lambda w: w[0] in NOT_OURS),
    ("several ranks or a cluster: test_ranks.py, test_spread_ray.py", lambda w: w[0] == "torchrun" or "--ray" in w),
    ("a benchmark of minutes to hours; that it starts is test_benches.py's", lambda w: w[0] == "python"),
    (
        "test_benches.py runs it, hogs and --json included",
        lambda w: w[1:3] == ["bench", "loop"] and "--bundle" not in w,
    ),
    ("needs a GPU", lambda w: "cuda" in w),
    ("moves a machine, a person must be present", lambda w: "--hardware" in w),
    ("a simulated robot is armed by its reset; arming is test_safety.py's", lambda w: w[1:3] == ["robots", "arm"]),
    ("needs a tracker that sends datagrams", lambda w: "--tracker" in w),
    ("needs another machine: test_two_hosts.py", lambda w: bool(re.search(r"10\.0\.0\.\d", " ".join(w)))),
    ("needs another machine: test_two_hosts.py", lambda w: two_hosts(w) and "--check" not in w),
]
# Verbs that ask a running graph; one runs beside them.
LIVE = {("bus", verb) for verb in ("list", "echo", "hz", "record", "metrics")}
LIVE |= {("robots", verb) for verb in ("stop", "release")}
# Verbs that take signals, start processes, or never end: in a process of their own. Others run in this one.
APART = {("launch",), ("deploy", "run"), ("bench", "loop"), ("view",), ("tune",), ("bus", "replay"), ("bus", "proxy")}
UNTIL_INTERRUPTED = {("bus", "metrics")}  # no option ends them
FINDINGS = {("doctor",): {0, 1}}  # exit codes that say something of this machine
# Verbs that leave nothing a later command reads: where one reader has run such a command, the next ones need not.
ALIKE = LIVE - {("bus", "record")} | {("robots", "check"), ("robots", "list"), ("doctor",), ("bus", "stats")}
ALIKE |= {("launch",), ("bench", "loop"), ("view",)}
ALIKE |= {("plot",), ("eval",), ("forecast",)}  # what these write is for the eye: no command of another page reads it
KEPT_FOR = {("tune",): "researcher"}  # verbs that take long: left to the reader who goes on with what they make
# Options that say how much or which, as numbers: a quick run shrinks what they count, and any seed is as good.
SIZES = {"--seed", "--episodes", "--strokes", "--trials", "--workers", "--points", "--minutes"}
SIZE_KEYS = ("task.seed=", "task.strokes=")


def two_hosts(words: Words) -> bool:
    """Whether it starts one half of a graph over two machines."""
    named = "badminton_hosts" in words
    return named or (words[1:3] == ["deploy", "run"] and "--graph" not in words)


class Command(NamedTuple):
    """A line of a bash block."""

    page: str  # relative to the checkout
    text: str

    @property
    def words(self) -> Words:
        """As the shell parts them, without what is redirected."""
        words = shlex.split(self.text.partition(" > ")[0])
        words[0] = words[0].removeprefix(".venv/bin/")
        return words

    @property
    def into(self) -> str:
        """The file that its output goes to, if any."""
        return self.text.partition(" > ")[2].strip()


def blocks(language: str, pages: Sequence[Path] = PAGES) -> list[tuple[str, str]]:
    """(page, text) of each code block of a language."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [
        (page.relative_to(ROOT).as_posix(), text)
        for page in pages
        for text in pattern.findall(page.read_text(encoding="utf-8"))
    ]


def commands(pages: Sequence[Path] = PAGES) -> list[Command]:
    """Every command line, in the order of the pages."""
    lines = [(p, line) for p, text in blocks("bash", pages) for line in text.replace("\\\n", " ").splitlines()]
    return [Command(p, line.partition(" #")[0].strip()) for p, line in lines if line.strip() and line[0] != "#"]


def why_not(words: Words) -> str:
    """Why a command is only parsed; nothing: it is run."""
    return next((reason for reason, fits in RULES if fits(words)), "")


@cache
def command_line() -> Any:
    """The parser of all verbs, which takes a while to make."""
    return typer.main.get_command(app)


def verb_of(words: Words) -> tuple[tuple[str, ...], Any]:
    """The verb that words after `hjepa` name, and how it is parsed."""
    parser, at = command_line(), 0
    while hasattr(parser, "commands"):
        rest = words[at:]
        spelt = parser.spelt(rest) if hasattr(parser, "spelt") else rest  # hjepa config CONFIG
        parser, at = parser.commands[spelt[0]], at + (spelt == rest)
    return tuple(words[:at]), parser


def as_run(words: Words) -> Words:
    """Words after `hjepa` as they are run: quick, to an end, without a browser, on a free port."""
    verb, parser = verb_of(words)
    options = {name: p for p in parser.params for name in p.opts + p.secondary_opts}
    added: Words = []
    if "--quick" in options and not {"--quick", "--check", "--list", "--show"} & set(words):
        added += ["--quick"]
    endless = "--seconds" in options and ("--quick" not in options or verb == ("view",))
    if endless and options["--seconds"].default is None and "--seconds" not in words:
        added += ["--seconds", "3"]
    added += ["--no-open"] if "--no-open" in options and "--no-open" not in words else []
    for name, form in (("--port", "{}"), ("--listen", "127.0.0.1:{}")):
        added += [name, form.format(free_port())] if name in options and verb != ("bus", "proxy") else []
    return [*words, *added]  # of an option that is given twice the last one counts


def key_of(words: Words) -> str:
    """Commands with the same key do the same but for numbers, which a quick run shrinks anyway."""
    numbers = re.compile(r"^(.*=)?-?\d+(\.\d+)?$")
    spread = spread_sets(words)
    sizes = {k for k, w in enumerate(spread) if w in SIZES or (w == "--set" and spread[k + 1].startswith(SIZE_KEYS))}
    kept = [w for k, w in enumerate(spread) if not {k, k - 1} & sizes]
    return " ".join(numbers.sub(r"\1#", w) for w in kept if w not in ("badminton", "--quick"))


def runs_alike(words: Words) -> bool:
    """Whether it makes no difference which reader runs it."""
    return not why_not(words) and words[0] == "hjepa" and verb_of(words[1:])[0] in ALIKE


def asks_a_graph(words: Words) -> bool:
    """Whether a graph has to run beside it."""
    verb, _ = verb_of(words[1:])
    return verb in LIVE or (verb == ("bus", "stats") and len(words) == 3) or "--bus" in words


def wanted_alive(left: Sequence[Command]) -> bool:
    """Whether one that runs is asked again before a command that needs the cores for itself."""
    for words in (line.words for line in left if line.words[0] == "hjepa"):
        if asks_a_graph(words):
            return True
        if verb_of(words[1:])[0] in APART:
            return False
    return False


def kept_for(words: Words) -> str:
    """The reader that alone runs it; nothing: any that meets it."""
    return "" if why_not(words) or words[0] != "hjepa" else KEPT_FOR.get(verb_of(words[1:])[0], "")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ran(NamedTuple):
    """What became of a command."""

    command: str
    said: str
    wrong: str  # nothing: all is well
    cpu_s: float
    wall_s: float


class Reader:
    """Who follows pages in a folder, with a home and a running graph of his own."""

    def __init__(self, folder: Path, site: Path | None = None) -> None:
        """site: a folder into which packages of others are installed; every command then is a process of its own."""
        self.folder, self.site = folder, site
        self.live: Launched | None = None
        paths = [str(ROOT), *([str(site)] if site else [])]
        self.environment = {
            "HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache"), "XDG_CONFIG_HOME": "",
            "XDG_RUNTIME_DIR": str(folder / "run"), "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1",
            "COLUMNS": "160",
        }  # fmt: skip
        for name in ("home", "run"):
            (folder / name).mkdir(mode=0o700)
        for name in ("launch", "configs"):  # what a reader's checkout has
            (folder / name).symlink_to(ROOT / name)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()

    def follow(self, lines: Sequence[Command], before: Sequence[Command] = ()) -> Iterator[Ran]:
        """Run what can be run, each command once, in order. before: what other readers run for this one too."""
        done = {key_of(line.words) for line in before}
        left: list[Command] = []
        for line in lines:
            if not why_not(line.words) and (key_of(line.words) not in done or line.into):
                left.append(line)
                done.add(key_of(line.words))
        while left:
            line = left.pop(0)
            began, began_s = _cpu_s(), time.monotonic()
            try:
                said, wrong = self.run(line)
            except (subprocess.TimeoutExpired, AssertionError) as error:
                said, wrong = "", f"{type(error).__name__}: {error}"
            cpu_s, wall_s = _cpu_s() - began, time.monotonic() - began_s
            if not wanted_alive(left):
                self.rest()  # who plays for nobody keeps the cores from others
            if cpu_s > LIMIT_S:
                wrong = wrong or f"{cpu_s:.0f} s of processor time; allowed: {LIMIT_S:.0f}"
            yield Ran(f"{line.page}: {line.text}", said, wrong, cpu_s, wall_s)

    def run(self, line: Command) -> tuple[str, str]:
        """(what it said, what went wrong)."""
        words = line.words
        if words[0] in SHELL:
            done = subprocess.run(
                ["bash", "-c", line.text], cwd=self.folder, env=os.environ | self.environment, capture_output=True,
                text=True, check=False,
            )  # fmt: skip
            return done.stdout, done.stderr
        verb, _ = verb_of(words[1:])
        asked = as_run([word.replace("/run/user/1000", str(self.folder / "run")) for word in spread_sets(words[1:])])
        live = asks_a_graph(words)
        if live:
            self.watch()
        elif verb in APART:
            self.rest()  # graphs have names, and cores are few
        apart = live or verb in APART or self.site is not None
        code, said = (self._apart if apart else self._here)(asked, verb in UNTIL_INTERRUPTED)
        if verb == ("robots", "release"):
            self.rest()  # a match that was stopped is not played to its end
        if line.into:
            (self.folder / line.into).write_text(said, encoding="utf-8")
        return said, "" if code in FINDINGS.get(verb, {0}) else f"exit code {code}\n{said[-2000:]}"

    def watch(self) -> None:
        """See to it that a graph runs and plays."""
        if self.live is not None and self.live.process.poll() is None:
            return
        self.rest()
        self.live = Launched(self.folder, "badminton_sim", "--set", "task.strokes=25", environment=self.environment)
        self._playing()

    def _playing(self) -> None:
        """Wait until plans come."""
        end_s = time.monotonic() + PATIENCE_S
        while not self._apart(["bus", "echo", "plan", "--count", "1", "--seconds", "2"], False)[1].startswith("plan"):
            assert self.live is not None and self.live.process.poll() is None, "the graph beside the commands has ended"
            assert time.monotonic() < end_s, "the graph beside the commands makes no plans"

    def rest(self) -> None:
        """End the graph, if one runs."""
        if self.live is not None:
            self.live.__exit__(None, None, None)
        self.live = None

    def _apart(self, words: Words, interrupt: bool) -> tuple[int, str]:
        """In a process of its own; interrupt: press Ctrl-C as soon as it has said a line."""
        process = subprocess.Popen(
            [*HJEPA, *words], cwd=self.folder, env=os.environ | self.environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        with process:
            try:
                first = ""
                if interrupt:
                    assert process.stdout is not None
                    first = process.stdout.readline()
                    process.send_signal(signal.SIGINT)
                said, _ = process.communicate(timeout=PATIENCE_S)
            finally:
                process.kill()
        return process.returncode, first + said

    def _here(self, words: Words, _: bool) -> tuple[int, str]:
        """In this process, which has torch imported already."""
        said = io.StringIO()
        with ExitStack() as stack:
            stack.enter_context(_surroundings(self.folder, self.environment))
            stack.enter_context(redirect_stdout(said))
            stack.enter_context(redirect_stderr(said))
            try:
                main(words)
            except SystemExit as end:
                return int(end.code or 0), said.getvalue()
        return 0, said.getvalue()


class _surroundings:  # noqa: N801 (a context)
    """Working folder and environment while the block runs."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def __enter__(self) -> None:
        self.before, self.kept = Path.cwd(), dict(os.environ)
        os.environ.update(self.environment)
        os.chdir(self.folder)

    def __exit__(self, *_: object) -> None:
        os.chdir(self.before)
        os.environ.clear()
        os.environ.update(self.kept)


def _cpu_s() -> float:
    """Processor time of this process and of those that it has waited for."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)
