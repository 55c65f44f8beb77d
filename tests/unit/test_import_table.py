"""pytest tests/unit/test_import_table.py: who may import whom. Walks the syntax trees; prints each offending line."""

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
# every room may import these and its own files: borders, and plain arithmetic on arrays
COMMON = {
    *("numpy", "hjepa.types", "hjepa.protocols", "hjepa.errors"),
    *("hjepa.motion", "hjepa.stroke", "hjepa.handover", "hjepa.arrays", "hjepa.plugins"),
}
ANY = {"*"}

# room (a path prefix; the longest that fits a file counts): what it may import besides the standard library and COMMON
TABLE: dict[str, set[str]] = {
    "hjepa/__init__.py": set(),  # importing hjepa stays light; hjepa.load imports the api when called
    "hjepa/types.py": set(),
    "hjepa/protocols.py": set(),
    "hjepa/errors.py": set(),
    "hjepa/yaml_file.py": {"yaml"},
    "hjepa/units.py": set(),
    "hjepa/typed_yaml.py": {"pydantic", "hjepa.yaml_file", "hjepa.units"},
    "hjepa/composition.py": {"yaml", "hjepa.yaml_file"},
    "hjepa/config.py": {"yaml", "pydantic", "hjepa.typed_yaml", "hjepa.composition", "hjepa.yaml_file"}
    | {"hjepa.config_low"},
    "hjepa/config_low.py": {"pydantic", "hjepa.typed_yaml"},
    "hjepa/explaining.py": {"pydantic", "hjepa.units", "hjepa.typed_yaml", "hjepa.composition", "hjepa.yaml_file"},
    "hjepa/motion.py": set(),
    "hjepa/stroke.py": set(),
    "hjepa/handover.py": set(),
    "hjepa/arrays.py": set(),
    "hjepa/plugins.py": set(),
    "hjepa/diary.py": set(),
    "hjepa/models": {"torch", "safetensors"},
    "hjepa/planning": {"torch"},  # models are reached through protocols
    "hjepa/tasks": set(),  # the oracle receives a RobotSpec value
    "hjepa/training": {
        *("torch", "safetensors", "tensorboard", "hjepa.models", "hjepa.config", "hjepa.tasks"),
        "hjepa.planning",  # mode 1 is distilled from the energy that mode 2 minimises
    },
    "hjepa/training/spread_ray.py": {"hjepa.training"},
    "hjepa/evaluation": {"hjepa.agent", "hjepa.planning", "hjepa.tasks", "hjepa.config"},  # drivers are handed in
    "hjepa/envs": {"gymnasium", "hjepa.tasks"},  # the driver is handed in
    "hjepa/bus": {"zmq", "msgspec", "mcap", "prometheus_client"},  # nodes take any Agent or Driver by protocol
    "hjepa/agent.py": {"hjepa.models", "hjepa.planning", "hjepa.diary"},
    "hjepa/launching": {"zmq", "msgspec", "hjepa.bus", "hjepa.config", "hjepa.typed_yaml"},  # levels come by name
    "hjepa/launching/conductor.py": ANY,  # a process of its own, which plays the strokes
    "hjepa/launching/paced.py": ANY,  # the same, at a pace
    "hjepa/viewer": {
        "PIL",
        "matplotlib",
        "av",
        "hjepa.tasks",
        "hjepa.evaluation.results",
    },  # draws arrays that are handed in
    "hjepa/viewer/live": {
        "viser",
        "msgspec",
        "zmq",
        "hjepa.bus",
        "hjepa.launching.pacing",
        "hjepa.viewer",
        "hjepa.tasks",
    },
    "robots": {"yaml", "hjepa.typed_yaml"},  # own limits
    "robots/calibration_file.py": {"yaml", "robots", "hjepa.typed_yaml", "hjepa.tasks.kinematics"},
    "robots/sim": {"yaml", "pybullet", "pybullet_data", "mujoco", "robots", "hjepa.tasks"},
    "robots/real": {"yaml", "robots"},  # vendor SDKs: see LAZY
    "robots/emulators": {"robots"},
    # a task beside badminton brings its own assembly: nodes and film, imported when its configuration is used
    "hjepa/tasks/reach/nodes.py": ANY,
    "hjepa/tasks/reach/play.py": ANY,
    "hjepa/tasks/reach/film.py": {"PIL", "av", "hjepa.viewer", "hjepa.tasks"},
    "hjepa/tasks/reach/settings.py": {"pydantic", "hjepa.typed_yaml"},
    "hjepa/forecasting.py": {"torch", "hjepa.models", "hjepa.training", "hjepa.tasks", "hjepa.evaluation"},
    "hjepa/babbling.py": {"hjepa.bus", "hjepa.training.babble", "hjepa.training.recorded", "robots"},
    "hjepa/covering.py": ANY,  # assembly: whole agents play, a level learns from it
    "hjepa/onlooker.py": {
        "torch",
        "hjepa.models.observer",
        "hjepa.tasks.kinematics",
    },  # shown joints, not told of the plan
    "hjepa/feinting.py": ANY,  # assembly: whole agents play, somebody watches them
    "hjepa/anticipating.py": ANY,
    "hjepa/contexts.py": {"torch", "hjepa.models", "hjepa.planning", "hjepa.tasks", "hjepa.training"},
    "hjepa/sides.py": ANY,  # assembly: whole agents play
    "hjepa/matches.py": ANY,
    "hjepa/insight": ANY,  # assembly: levels are asked what they know, strokes are played
    "hjepa/api.py": ANY,
    "hjepa/build.py": ANY,
    "hjepa/factories.py": ANY,
    "hjepa/provenance.py": ANY,
    "hjepa/export": {"pyarrow", "av", "hjepa.bus"},  # recordings to the formats of others
    "hjepa/deploy": ANY,
    "hjepa/deploy/realtime.py": set(),
    "hjepa/deploy/doctor.py": {"hjepa.deploy.examine"},  # the base installation is enough for it
    "hjepa/deploy/examine": {"hjepa.deploy.realtime"},
    "hjepa/benches": ANY,  # whole graphs, worlds and levels, measured
    "hjepa/tuning": ANY,  # assembly: whole agents play, with other values each time
    "hjepa/tuning/space.py": {"pydantic", "hjepa.config", "hjepa.typed_yaml", "hjepa.tuning.objective"},
    "hjepa/tuning/objective.py": {"hjepa.evaluation.metrics", "hjepa.evaluation.results"},
    "hjepa/cli": ANY,
}
# allowed in the named room inside a function alone: loaded when needed, never on import
LAZY: dict[str, set[str]] = {
    "hjepa/__init__.py": {"hjepa.api"},
    "hjepa/envs": {"robots.catalog"},  # gymnasium.make names no driver: the default one, by name
    "robots/real": {"pylibfranka", "serial", "dynamixel_sdk"},
    "hjepa/deploy/examine": {"zmq", "torch"},  # if they are there
    "hjepa/training/spread_ray.py": {"ray"},  # a cluster of machines: the extra `cluster`
}
# never, not even inside a function, whatever the table above comes to say
NEVER: dict[str, set[str]] = {
    "hjepa/models": {"hjepa.planning", "hjepa.training", "hjepa.bus", "robots", "yaml", "zmq"},
    "hjepa/planning": {"hjepa.models", "hjepa.bus", "robots", "pybullet"},
    "hjepa/tasks": {"torch", "zmq", "pybullet"},
    "hjepa/tasks/reach/nodes.py": {"zmq", "pybullet"},  # builds the levels; a node's process imports no more
    "hjepa/training": {"zmq", "hjepa.bus", "pybullet"},
    "hjepa/evaluation": {"pybullet"},
    "hjepa/envs": {"pybullet"},
    "hjepa/bus": {"torch", "hjepa.models", "hjepa.planning", "pybullet"},
    "hjepa/agent.py": {"hjepa.bus", "robots", "zmq", "pybullet", "hjepa.tasks"},
    "hjepa/launching/supervisor.py": {"torch", "pybullet", "hjepa.build"},  # light: it is there all the time
    "hjepa/viewer/live": {"torch", "pybullet", "robots"},  # beside a running robot, and there at once
    "hjepa/config.py": {"torch", "zmq", "pybullet"},
    "hjepa/build.py": {"pybullet", "robots.sim", "hjepa.training"},  # also runs in the levels' own processes
    "robots": {"torch", "zmq"},
    "hjepa/deploy/realtime.py": {"torch", "zmq"},
    "hjepa/deploy/doctor.py": {"torch", "zmq"},
}
NOBODY = {"hjepa.cli", "tests", "launch"}  # imported by nobody; hjepa.api by cli alone
CLI_ONLY = {"typer", "rich", "hjepa.api", "hjepa.build", "hjepa.factories", "hjepa.provenance", "hjepa.benches"}
ASSEMBLY = (
    *(
        "hjepa/cli",
        "hjepa/benches",
        "hjepa/api.py",
        "hjepa/covering.py",
        "hjepa/feinting.py",
        "hjepa/anticipating.py",
        "hjepa/contexts.py",
        "hjepa/matches.py",
        "hjepa/sides.py",
        "hjepa/insight",
        "hjepa/build.py",
        "hjepa/factories.py",
        "hjepa/provenance.py",
        "hjepa/__init__.py",
        "hjepa/deploy",
        "hjepa/tuning",
        *(f"hjepa/tasks/reach/{name}.py" for name in ("nodes", "play")),
    ),
    "hjepa/launching/conductor.py",
    "hjepa/launching/paced.py",
)


class Import(NamedTuple):
    file: str
    line: int
    module: str  # dotted, absolute
    lazy: bool  # inside a function


def room_of(file: str, rooms: dict[str, set[str]]) -> str | None:
    fits = [room for room in rooms if file == room or file.startswith(room + "/")]
    return max(fits, key=len, default=None)


def within(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


def imports(file: str, source: str) -> list[Import]:
    """Every import of a file, `from a import b` as a.b (b may be a module), relative ones made absolute."""
    package = file.removesuffix(".py").removesuffix("/__init__").split("/")
    if not file.endswith("__init__.py"):
        package = package[:-1]
    found: list[Import] = []

    def visit(node: ast.AST, lazy: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return  # never executed
        if isinstance(node, ast.Import):
            found.extend(Import(file, node.lineno, alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            found.extend(Import(file, node.lineno, f"{start}.{alias.name}", lazy) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
            found.extend(Import(file, node.lineno, name, lazy) for name in names if isinstance(name, str))
        for child in ast.iter_child_nodes(node):
            visit(child, lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    visit(ast.parse(source), False)
    return found


def complaint(item: Import) -> str | None:
    """Why an import is not allowed, or None."""
    top = item.module.split(".")[0]
    if top in sys.stdlib_module_names or within(item.module, COMMON) or item.module == "hjepa.__version__":
        return None
    room = room_of(item.file, TABLE)
    if room is None:
        return "this file belongs to no room of the table"
    home = room.removesuffix(".py").replace("/", ".")
    if within(item.module, {home}):
        return None
    never = room_of(item.file, NEVER)
    if never and within(item.module, NEVER[never]):
        return f"never in {never}"
    if within(item.module, NOBODY):
        return "imported by nobody"
    if within(item.module, CLI_ONLY) and room not in ASSEMBLY:
        return "for hjepa/cli alone"
    lazy_room = room_of(item.file, LAZY)
    if item.lazy and lazy_room and within(item.module, LAZY[lazy_room]):
        return None
    if TABLE[room] == ANY or within(item.module, TABLE[room]):
        return None
    return f"{room} may import: {', '.join(sorted(TABLE[room] | COMMON))}"


def source_files() -> list[Path]:
    return [path for top in ("hjepa", "robots") for path in sorted((ROOT / top).rglob("*.py"))]


def test_every_import_is_allowed_by_the_table() -> None:
    complaints = []
    for path in source_files():
        for item in imports(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")):
            why = complaint(item)
            if why:
                complaints.append(f"{item.file}:{item.line}: imports {item.module}: {why}")
    assert not complaints, "\n" + "\n".join(complaints)


def test_launch_is_no_package() -> None:
    """A folder `launch` with an __init__.py would hide ROS 2's package of that name."""
    assert not list((ROOT / "launch").rglob("*.py"))


@pytest.mark.parametrize(
    ("file", "source", "allowed"),
    [
        ("hjepa/models/encoder.py", "import torch", True),
        ("hjepa/models/encoder.py", "import yaml", False),
        ("hjepa/models/encoder.py", "from hjepa.planning import cem", False),
        ("hjepa/planning/cem.py", "from hjepa import models", False),
        ("hjepa/planning/cem.py", "def f():\n    import hjepa.models.encoder", False),
        ("hjepa/agent.py", "from hjepa.tasks.badminton import flight", False),
        ("hjepa/agent.py", "from .planning.cem import plan", True),
        ("hjepa/tasks/badminton/flight.py", "from . import court", True),
        ("hjepa/tasks/badminton/flight.py", "import scipy.integrate", False),
        ("robots/sim/court.py", "from hjepa.tasks.badminton import flight", True),
        ("robots/guard.py", "from hjepa.tasks.badminton import flight", False),
        ("robots/guard.py", "from hjepa.config import load", False),
        ("robots/real/franka.py", "import pylibfranka", False),
        ("robots/real/franka.py", "def connect():\n    import pylibfranka", True),
        ("hjepa/bus/nodes.py", "import zmq", True),
        ("hjepa/bus/nodes.py", "import importlib\nimportlib.import_module('torch')", False),
        ("hjepa/training/loop.py", "from rich.progress import track", False),
        ("hjepa/evaluation/episodes.py", "import hjepa.cli", False),
        ("hjepa/newroom/x.py", "import torch", False),
    ],
)
def test_the_rules_themselves(file: str, source: str, allowed: bool) -> None:
    why = [complaint(item) for item in imports(file, source)]
    assert all(reason is None for reason in why) == allowed, why


def test_importing_hjepa_and_its_borders_loads_no_heavy_library() -> None:
    import subprocess

    code = "import sys, hjepa, hjepa.types, hjepa.protocols, hjepa.errors, hjepa.config; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "zmq", "pybullet", "gymnasium", "matplotlib"} & set(loaded.stdout.split())
