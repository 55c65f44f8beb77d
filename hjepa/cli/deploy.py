"""hjepa deploy: a configuration as a signed bundle, and the controller that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hjepa import config as settings
from hjepa.cli import files, launch, options, quick
from hjepa.cli.progress import reporter
from hjepa.errors import BundleError

app = typer.Typer(
    help="Build a signed bundle from a configuration, check it, and run it on a robot's controller.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
BundleFolder = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder that `hjepa deploy build` made.")]
Trust = Annotated[
    list[Path] | None,
    typer.Option("--trust", metavar="FILE.pub", help="Public key of a builder; else those in ~/.config/hjepa/deploy."),
]


@app.command("keygen")
def keygen(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="NAME.key (keep it) and NAME.pub (give it away).")],
) -> None:
    """Make a key pair to sign bundles with. Without one, `build` makes your own on its first run."""
    from hjepa.deploy import signing

    for path in signing.keygen(name):
        typer.echo(f"written: {path}")


@app.command("build")
def build(
    config: options.Config = "badminton",
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="The bundle, a new folder.")] = Path("bundle"),
    device: Annotated[str, typer.Option("--device", help="cpu, or cuda: what plans on the controller.")] = "cpu",
    programs: Annotated[
        str,
        typer.Option("--programs", help="compiled: with g++, two minutes; recorded: neither, half as fast."),
    ] = "compiled",
    small: quick.Quick = False,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE.key", help="Sign with this; else your own.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.")] = False,
    set_files: options.SetFiles = None,
    sets: options.Sets = None,
) -> None:
    """Compile, rehearse and sign: all that a controller needs, for machines like this one.

    Example: `hjepa deploy build badminton --out bundle/`
    """
    if programs not in ("compiled", "recorded"):
        raise BundleError(f"--programs {programs}; allowed: compiled, recorded")
    programs = "recorded" if small else programs
    chosen = settings.load(config, sets or [], set_files or [])
    files.check_folder(out.parent, "--out")
    from hjepa.deploy import building
    from hjepa.deploy.bundle import described

    console = Console()
    with reporter(console, "compile") as report:
        manifest = building.make(
            chosen,
            out,
            device=device,
            compile_programs=programs == "compiled",
            key=key,
            force=force,
            progress=lambda done, of, name: report(done, of, {}),
        )
    for what, value in described(manifest).items():
        console.print(f"{what:9} {value}", highlight=False)
    console.print(f"written: {out}", highlight=False)


@app.command("verify")
def verify(bundle: BundleFolder, trust: Trust = None) -> None:
    """Check signature, hashes and machine, and replay every golden pair.

    Example: `hjepa deploy verify bundle/`
    """
    from hjepa.deploy import bundle as bundles
    from hjepa.deploy import controller, goldens

    console = Console()
    opened = bundles.opened(bundle, trust or ())
    compared = [*controller.bring_up_high(opened)[1], *controller.bring_up_low(opened)[1]]
    table = Table("golden pair", "difference / tolerance", box=None, pad_edge=False)
    for pair in compared:
        table.add_row(pair.name, f"{pair.worst:.3f}")
    console.print(table)
    goldens.check(compared)
    for what, value in bundles.described(opened.manifest).items():
        console.print(f"{what:9} {value}", highlight=False)
    console.print(f"{bundle}: signature, {len(opened.manifest.files)} files and {len(compared)} golden pairs are right")


@app.command("run")
def run(
    bundle: BundleFolder,
    graph: Annotated[str, typer.Option("--graph", help="Process graph whose levels it plays.")] = "badminton_hosts",
    only: Annotated[
        str,
        typer.Option("--only", metavar="A,B", help="Start these nodes; else the levels, or all on one host."),
    ] = "",
    trust: Trust = None,
    small: quick.Quick = False,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Lock memory, ask for SCHED_FIFO; says what was not granted.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Only say what would be started, or what is wrong.")] = False,
    logs: launch.Logs = launch.LOGS,
    sets: options.Sets = None,
) -> None:
    """Start the controller: check the bundle, rehearse, warm up, and serve the bus until told to stop.

    Example, all on one machine: `hjepa deploy run bundle/ --graph badminton_sim`
    """
    from hjepa.deploy import controller

    plan = controller.graph_of(
        bundle, graph, trust or (), [*(sets or []), *(quick.LAUNCHED if small else [])], realtime, gpu=check
    )
    nodes = plan.graph.nodes
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    if not chosen and any(node.host == "remote" for node in nodes.values()):
        chosen = [name for name, node in nodes.items() if node.role in controller.LEVELS]
    launch.start(plan, chosen, logs, check=check)
