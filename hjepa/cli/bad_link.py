"""hjepa bus proxy: see what a robot does on a bad link."""

from __future__ import annotations

import signal
from typing import Annotated

import typer


def proxy(
    listen: Annotated[str, typer.Argument(metavar="LISTEN", help="tcp://HOST:PORT where nodes are to connect.")],
    target: Annotated[str, typer.Argument(metavar="TARGET", help="tcp://HOST:PORT of the graph behind it.")],
    delay_ms: Annotated[float, typer.Option("--delay-ms", min=0, help="Each way.")] = 0.0,
    jitter_ms: Annotated[float, typer.Option("--jitter-ms", min=0, help="The delay varies by up to this.")] = 0.0,
    loss: Annotated[float, typer.Option("--loss", min=0, max=0.99, help="Probability that a segment is lost.")] = 0.0,
    again_ms: Annotated[
        float, typer.Option("--again-ms", min=0, help="A lost segment, and all behind it, comes so much later.")
    ] = 200.0,
    stall_s: Annotated[float, typer.Option("--stall-s", min=0, help="Now and then nothing gets through.")] = 0.0,
    cut_s: Annotated[float, typer.Option("--cut-s", min=0, help="Now and then connections are closed.")] = 0.0,
    every_s: Annotated[
        float, typer.Option("--every-s", min=0, help="From one stall or cut to the next; 0: at SIGUSR1 only.")
    ] = 10.0,
    allow_remote: Annotated[
        list[str] | None,
        typer.Option("--allow-remote", metavar="HOST", help="Who may connect from elsewhere; may be repeated."),
    ] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="End after so long.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
) -> None:
    """Forward the ports of a graph as a bad link would: late, with jitter, losses, stalls and cuts, until Ctrl-C.

    Only bytes are forwarded: encryption and MACs stay between the nodes. It listens on this machine alone unless
    --allow-remote says who else may connect. SIGUSR1 brings the next stall or cut about.

    Example: `hjepa bus proxy tcp://127.0.0.1:8700 tcp://127.0.0.1:7700 --delay-ms 5 --jitter-ms 3 --loss 0.01`
    """
    import asyncio

    from hjepa.bus.proxy import Link, Proxy, new_loop

    link = Link(delay_ms, jitter_ms, loss, again_ms, stall_s, cut_s, every_s)
    forwarding = Proxy(listen, target, link, allowed=allow_remote or (), seed=seed)

    async def forward() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, forwarding.disturb)
        if seconds is not None:
            loop.call_later(seconds, stop.set)
        await forwarding.run(stop)

    typer.echo(f"{listen} -> {target}; Ctrl-C ends it")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(forward())
    typer.echo(", ".join(f"{name} {count}" for name, count in sorted(forwarding.counts.items())) or "nobody connected")
