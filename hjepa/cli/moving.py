"""hjepa robots stop, release, arm, jog: what moves a robot by hand, and what stops it."""

from __future__ import annotations

import time
from typing import Annotated

import numpy as np
import typer

from hjepa.bus import estop
from hjepa.bus.node import STATUS, BusConfig, Party
from hjepa.bus.topics import Empty
from hjepa.cli import running
from hjepa.errors import ConfigError, nearest
from hjepa.types import NS, JointTrajectory, RobotSpec

At = Annotated[
    str | None,
    typer.Option("--at", metavar="GRAPH", help="Running graph by name or address; not needed where one runs."),
]
_ANSWER_S = 2.0
_SETTLE_S = 0.3


def _config(at: str | None) -> BusConfig:
    """How the driver of a running graph is reached."""
    found = running.find(at)
    keys = str(found.entry.get("keys", ""))
    return BusConfig(base=found.place.base, clock="realtime", keys=keys, hosts=dict(found.place.hosts))


def stop(at: At = None) -> None:
    """Emergency stop: the running graph's robot brakes, holds, and stays held. Acknowledged, or it says so loudly."""
    took_ms = estop.ask(_config(at))
    typer.echo(f"the robot holds (acknowledged after {took_ms:.0f} ms); `hjepa robots release`, then arm, to go on")


def release(at: At = None) -> None:
    """Take an emergency stop back. Moves nothing: the robot has to be armed again."""
    estop.ask(_config(at), "release")
    typer.echo("released; nothing moves until it is armed: `hjepa robots arm`")


def arm(at: At = None) -> None:
    """Let the running graph's robot follow commands. Needs fresh ones in a row, from a planner that is awake."""
    party = Party("tools", _config(at), None, guarded=True)
    try:
        control = party.requester("driver-control")
        session = control.request(STATUS, Empty(), timeout_s=_ANSWER_S).value.session
        control.request("arm", Empty(), timeout_s=_ANSWER_S, session=session)
    finally:
        party.close()
    typer.echo("armed: the robot follows commands from now on")


def jog(
    driver: Annotated[str, typer.Argument(metavar="DRIVER", help="A driver of the catalogue: hjepa robots list.")],
    joint: Annotated[str, typer.Option("--joint", help="Name of the joint.")],
    by: Annotated[float, typer.Option("--by", help="How far (rad, or m for a linear axis).")],
    robot: Annotated[str | None, typer.Option("--robot", help="A robot by its description's name.")] = None,
    speed: Annotated[
        float, typer.Option("--speed", min=0.001, max=1.0, help="Share of the robot's speed limits.")
    ] = 0.1,
    present: Annotated[
        bool, typer.Option("--yes-a-person-is-present", help="Somebody watches, an emergency stop within reach.")
    ] = False,
    sets: Annotated[
        list[str] | None, typer.Option("--set", metavar="A=B", help="An option of the driver. May be repeated.")
    ] = None,
) -> None:
    """Move one joint a little, without a planner and without a graph; then hold.

    Example: `hjepa robots jog ideal --joint a1 --by 0.05`
    """
    from hjepa.cli.robots import driver_options
    from robots.catalog import make_driver, moves_machine

    if moves_machine(driver) and not present:
        raise ConfigError(f"driver '{driver}' moves a machine; allowed: together with --yes-a-person-is-present")
    made = make_driver(driver, robot, speed_share=speed, **driver_options(sets or []))
    if hasattr(type(made), "tick"):
        raise ConfigError(f"driver '{driver}' waits for ticks; allowed: one that runs by the clock, such as ideal")
    spec: RobotSpec = made.spec
    if joint not in spec.joint_names:
        raise ConfigError(f"--joint {joint}: {nearest(joint, spec.joint_names)}")
    j = spec.joint_names.index(joint)
    made.connect()
    try:
        made.rearm()  # type: ignore[attr-defined]  # every driver that runs by the clock has it
        start = made.observe()
        command = move_of(spec, start.q_rad, j, by, start.stamp_ns)
        made.send(command)
        time.sleep(len(command.q_rad) * command.dt_s + _SETTLE_S)
        moved = float(made.observe().q_rad[j] - start.q_rad[j])
        made.hold()
    finally:
        made.close()
    typer.echo(f"{spec.name}: {joint} moved by {moved:+.4f} (asked {by:+.4f}), and holds")


def move_of(spec: RobotSpec, q_rad: np.ndarray, joint: int, by: float, now_ns: int) -> JointTrajectory:
    """A half-cosine of one joint from q (J,), as fast as its speed and acceleration limits allow with some room."""
    v, a = 0.8 * spec.dq_max_rad_s[joint], 0.8 * spec.ddq_max_rad_s2[joint]
    T = max(0.5 * np.pi * abs(by) / v, np.pi * np.sqrt(0.5 * abs(by) / a), 0.1)
    t = np.arange(int(np.ceil(T / 0.01)) + 2) * 0.01
    phase = np.pi * np.minimum(t / T, 1.0)
    axis = np.eye(spec.joints)[joint]
    q = q_rad + 0.5 * by * (1.0 - np.cos(phase))[:, None] * axis
    dq = 0.5 * by * np.pi / T * np.sin(phase)[:, None] * axis
    return JointTrajectory(now_ns, 0.01, q, dq, round((t[-1] + 0.5) * NS))
