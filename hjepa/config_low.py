"""Keys of the low level: its search, the weights of its energy, and what it does about surprise."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hjepa.typed_yaml import Section, key


class LowWeightsSection(Section):
    """Weights of the terms of the low level's energy, as in planning.objectives; guards count in their tolerances."""

    goal: float = key(1.0, "distance of the predicted outcome to the sub-goal, in the upper latent", ge=0, le=1000)
    contact: float = key(
        1.0, "predicted distance of the shuttle from the racket at the contact, per 0.06 m", ge=0, le=1000
    )
    offset: float = key(0.5, "predicted distance of the contact from the racket's centre, per 0.06 m", ge=0, le=1000)
    support: float = key(0.7, "distance of the motor latent from those that the motor codec knows", ge=0, le=1000)
    net: float = key(1.0, "predicted height over the tape below 0.25 m, per 0.08 m", ge=0, le=1000)
    limits: float = key(1.0, "joint speed, acceleration and range beyond their limits", ge=0, le=1000)
    effort: float = key(0.15, "share of the joints' acceleration used", ge=0, le=1000)
    haste: float = key(0.9, "share of the joints' speed used at the contact", ge=0, le=1000)
    prior: float = key(0.05, "distance of the motor latent from the middle of the data's", ge=0, le=1000)
    self_contact: float = key(1.0, "parts of the body nearer to each other than 0.03 m, per 0.02 m", ge=0, le=1000)
    net_contact: float = key(
        1.0, "parts of the body in the net, from now until the recovery's end, per 0.03 m", ge=0, le=1000
    )
    keep_out: float = key(1.0, "parts of the body nearer to a person's zone than 0.15 m, per 0.05 m", ge=0, le=1000)
    racket_speed: float = key(
        1.0, "racket at the contact faster than 0.97 racket_speed_max_m_s, per 0.3 m/s", ge=0, le=1000
    )


Reaction = Literal["re-plan", "mode 1", "abandon", "hold"]  # types.GRADES without the first
Share = Annotated[float, Field(ge=0, le=1)]
Looks = Annotated[int, Field(ge=1, le=1000)]


class SurpriseSection(Section):
    """What the low level does when the shuttle surprises it, as in planning.reacting; p: share of normal strokes in
    which surprise ever gets so high, so a p of 0.001 is one false alarm in 1,000 strokes."""

    enabled: bool = key(True, "watch the flight; false: nothing is ever surprising")
    reactions: tuple[Reaction, ...] = key(
        ("re-plan", "mode 1", "abandon", "hold"), "grades that are acted upon; empty: surprise is only told"
    )
    replan_p: Share = key(0.001, "re-plan as if a new flight had begun: at looks with this p or less", unit="1")
    replan_looks: Looks = key(1, "after so many of them", unit="1")
    mode1_p: Share = key(0.0003, "play the proposal without a search: the same", unit="1")
    mode1_looks: Looks = key(2, "the same", unit="1")
    abandon_p: Share = key(0.0001, "give the stroke up and recover: the same", unit="1")
    abandon_looks: Looks = key(3, "the same", unit="1")
    hold_p: Share = key(0.0001, "brake, send nothing more, let the driver hold: the same", unit="1")
    hold_looks: Looks = key(5, "the same", unit="1")
    lost_energy: float = key(
        150.0,
        "plans for a new flight above this energy, three in a row: it is let go, the stroke abandoned",
        ge=0,
        le=1e9,
    )
    calm_looks: Looks = key(3, "calm looks in a row after which re-plan and mode 1 end", unit="1")


class LowSection(Section):
    """The low level's search, at every stride (replan_period_ms), as in planning.stroke_planner."""

    replan_period_ms: int = key(
        40, "time between two low-level plans, whole 10 ms ticks", unit="ms", ge=10, le=1000, multiple_of=10
    )
    latency_ms: int = key(30, "planning time charged to the clock in lockstep", unit="ms", ge=0, le=2000)
    budget_ms: int = key(
        25, "realtime: a search begins no iteration that would end later than this", unit="ms", ge=1, le=2000
    )
    planner: Literal["gradient", "cem", "icem", "mppi"] = key(
        "gradient", "the search of mode 2: Gauss-Newton, or one that samples"
    )
    reach_iterations: int = key(1, "iterations for each candidate goal when asked what is reachable", ge=0, le=1000)
    first_starts: int = key(3, "proposals from which the first search of a goal starts", ge=1, le=10_000)
    first_iterations: int = key(3, "iterations of the first search of a goal", ge=1, le=1000)
    starts: int = key(1, "motor latents from which a later search starts, the one in force first", ge=1, le=10_000)
    iterations: int = key(3, "iterations of a later search", ge=1, le=1000)
    most: int = key(
        0, "candidates scored per decision at most, proposals included; 0: as many as it takes", ge=0, le=1_000_000
    )
    candidates: int = key(128, "cem, icem, mppi: motor latents drawn per iteration", ge=2, le=100_000)
    elites: int = key(12, "cem, icem, mppi: best candidates kept per iteration", ge=2, le=100_000)
    accept_margin: float = key(0.0, "a new motor latent must lower the energy by this share", unit="1", ge=0, le=1)
    alarm_energy: float = key(8.0, "energy above which the proposals are asked again", ge=0, le=1e6)
    freeze_ms: int = key(60, "nearer to the contact than this the motor latent stays", unit="ms", ge=0, le=2000)
    valid_ms: int = key(500, "how long a command may be followed without a newer one", unit="ms", ge=50, le=10_000)
    guards: bool = key(
        True,
        "the guard terms net, limits, support, self_contact, net_contact, keep_out and racket_speed count, and what "
        "breaks them is not played; false: the driver's own guard alone",
    )
    racket_speed_max_m_s: float = key(15.0, "fastest racket at the contact", unit="m/s", gt=0, le=100)
    adapt: bool = key(True, "learn the slow context (drag, rebound) from how past strokes came out")
    weights: LowWeightsSection = LowWeightsSection()
    surprise: SurpriseSection = SurpriseSection()
