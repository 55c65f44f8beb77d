"""Nothing that is read can run: no pickle and its kin, no eval, no arrays of objects. Walks the trees."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "pandas"}
CALLS = {"eval", "exec", "compile", "torch.load", "yaml.load", "yaml.full_load", "yaml.unsafe_load"}
SAFE = {("Loader", "_Loader"), ("weights_only", "True")}  # a SafeLoader of ours; tensors and plain values alone
SOCKET_METHODS = {"recv_pyobj", "send_pyobj"}


def problems(file: str, source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found += [f"{file}:{node.lineno}: imports {n}" for n in names if n.partition(".")[0] in MODULES]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            safe = any((k.arg, ast.unparse(k.value)) in SAFE for k in node.keywords)
            if (called in CALLS and not safe) or called.rpartition(".")[2] in SOCKET_METHODS:
                found.append(f"{file}:{node.lineno}: calls {called}")
            if any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords):
                found.append(f"{file}:{node.lineno}: allows pickles")
            if called in ("np.load", "numpy.load") and not any(k.arg == "allow_pickle" for k in node.keywords):
                found.append(f"{file}:{node.lineno}: np.load without allow_pickle=False")
    return found


def test_nothing_that_is_read_can_run() -> None:
    files = [path for room in ("hjepa", "robots") for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(files) > 100
    found = [p for path in files for p in problems(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        *("import pickle", "from pickle import loads", "import dill.session", "eval(text)", "torch.load(path)"),
        *("yaml.load(text)", "yaml.load(text, Loader=yaml.Loader)", "np.load(path)", "socket.recv_pyobj()"),
        "np.load(path, allow_pickle=True)",
    ],
)
def test_each_way_would_be_found(line: str) -> None:
    assert problems("x.py", line)


def test_what_is_safe_is_let_through() -> None:
    assert not problems("x.py", "np.load(path, allow_pickle=False)\nyaml.safe_load(text)\nre.compile(text)")
