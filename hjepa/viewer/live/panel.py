"""The side panel: what is shown in figures, and what can be done."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import viser

from hjepa.errors import HjepaError
from hjepa.types import GRADES, Alarm
from hjepa.viewer.live.frames import Shot, Snapshot
from hjepa.viewer.live.paths import shades
from hjepa.viewer.live.source import SPEEDS, Source
from hjepa.viewer.live.stage import LAYERS, Stage

SHOWN_SHOTS = 8
SCRUB_S = 0.02
FOLLOW_S = 5.0  # a slider that a person has moved keeps its place for so long
HELD_S = 1.0  # a slider that a person has just moved is not moved by the page
_TABLE = "width:100%;border-collapse:collapse;font-size:12.5px;font-variant-numeric:tabular-nums"


class Panel:
    """Controls act on the source at once; figures are written a few times a second."""

    def __init__(self, server: viser.ViserServer, source: Source, stage: Stage) -> None:
        self._gui, self._source, self._stage = server.gui, source, stage
        self._texts: dict[Any, str] = {}
        self._sliders: dict[tuple[str, str], tuple[Any, float]] = {}  # by level and weight: it, and when it was moved
        self.paused, self.speed = False, 1.0
        self._scrubbed_s = 0.0
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="medium")
        server.gui.set_panel_label("hjepa view")
        server.gui.main_panel.dock_right()
        self._head = server.gui.add_html("")
        self._add_play()
        with server.gui.add_folder("Decision"):
            self._decision = server.gui.add_html("")
        with server.gui.add_folder("Loop"):
            self._loop = server.gui.add_html("")
        self._weights = server.gui.add_folder("Weights of the energy", visible=False)
        with self._weights:
            self._refused = server.gui.add_html("")
        with server.gui.add_folder("Show", expand_by_default=False):
            for layer in LAYERS:
                self._add_layer(layer)

    def write(self, now: Snapshot) -> None:
        """All figures, and where a recording is."""
        self._write(self._head, _head(now, self._source, self.paused, self.speed))
        self._write(self._decision, _decision(now))
        self._write(self._loop, _loop(now))
        if self._scrub is not None:
            self._scrub_to(self._source.position_s())

    def show_weights(self) -> None:
        """A slider for each weight of the levels that answer; it follows where somebody else changes the weight."""
        for level, values in self._source.weights().items():
            for name, value in values.items():
                slider, moved_s = self._sliders.get((level, name), (None, 0.0))
                if slider is None:
                    with self._weights:
                        self._add_weight(level, name, value)
                    self._weights.visible = True
                elif slider.value != value and time.monotonic() - moved_s > FOLLOW_S:
                    slider.value = min(value, slider.max)

    def _add_play(self) -> None:
        gui, source = self._gui, self._source
        self._pause = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE, hint=f"Holds {source.held}.")
        self._pause.on_click(lambda _: self._toggle())
        self._scrub: Any = None
        if source.paced:
            step = gui.add_button("Step", icon=viser.Icon.PLAYER_TRACK_NEXT, hint="While paused: 0.05 s further.")
            step.on_click(lambda _: source.step())
            speed = gui.add_button_group("Speed", [f"{s:g}x" for s in SPEEDS])
            speed.on_click(lambda event: self._set_speed(float(event.target.value[:-1])))
        if source.length_s:
            self._scrub = gui.add_slider("Time (s)", 0.0, round(source.length_s, 2), SCRUB_S, 0.0)
            self._scrub.on_update(self._scrubbed)

    def _toggle(self) -> None:
        self.paused = not self.paused
        self._source.pause(self.paused)
        self._pause.label = "Play" if self.paused else "Pause"
        self._pause.icon = viser.Icon.PLAYER_PLAY if self.paused else viser.Icon.PLAYER_PAUSE

    def _set_speed(self, speed: float) -> None:
        self.speed = speed
        self._source.set_speed(speed)

    def _scrubbed(self, event: Any) -> None:
        if event.client is not None:  # a person moved it, not this page
            self._scrubbed_s = time.monotonic()
            self._source.seek(float(event.target.value))

    def _scrub_to(self, at_s: float) -> None:
        held = time.monotonic() - self._scrubbed_s < HELD_S
        if not held and abs(self._scrub.value - at_s) > SCRUB_S / 2:
            self._scrub.value = round(at_s / SCRUB_S) * SCRUB_S

    def _add_weight(self, level: str, name: str, value: float) -> None:
        top = 4.0 * value if value > 0.0 else 1.0
        slider = self._gui.add_slider(f"{level}.{name}", 0.0, top, top / 100.0, value)
        self._sliders[level, name] = slider, 0.0
        slider.on_update(lambda event: self._weigh(level, name, event))

    def _weigh(self, level: str, name: str, event: Any) -> None:
        """A slider was moved."""
        if event.client is None:  # by this page, not by a person
            return
        self._sliders[level, name] = event.target, time.monotonic()
        try:
            self._source.set_weight(level, name, float(event.target.value))
            self._write(self._refused, "")
        except HjepaError as error:
            self._write(self._refused, f"<div style='color:#e69f00;font-size:12px'>{escape(str(error))}</div>")

    def _add_layer(self, layer: str) -> None:
        box = self._gui.add_checkbox(layer, True)
        box.on_update(lambda event: self._stage.layer(layer, bool(event.target.value)))

    def _write(self, handle: Any, text: str) -> None:
        """Say it only where it changes."""
        if self._texts.get(handle.order) != text:
            self._texts[handle.order] = text
            handle.content = text


def _head(now: Snapshot, source: Source, paused: bool, speed: float) -> str:
    lines = [f"<b>{escape(source.label)}</b>"]
    said = source.said()
    if said:
        lines.append(f"<span style='color:#e69f00'>{escape(said)}</span>")
    if paused:
        lines.append(f"<span style='color:#56b4e9'>paused: holds {escape(source.held)}</span>")
    slow = f" &nbsp; {speed:g} times as fast" if speed != 1.0 else ""
    lines.append(f"stroke <b>{now.stroke}</b> &nbsp; t = <b>{now.time_s:.2f} s</b>{slow}")
    if now.results:
        returned = sum(how == "returned" for _, how in now.results)
        incoming, how = now.results[-1]
        lines.append(f"last: {escape(incoming)}, {escape(how)}; returned {returned} of {len(now.results)}")
    return f"<div style='font-size:13px;line-height:1.5;padding:2px 12px'>{'<br>'.join(lines)}</div>"


def _decision(now: Snapshot) -> str:
    chosen = escape(now.shot) or "none yet"
    rows = [
        ("shot", f"<b>{chosen}</b>"),
        ("target", _point(now.target_xy_m)),
        ("predicted", _point(now.predicted_xy_m)),
    ]
    rows.append(("energy of the plan", _number(now.energy, 2)))
    reach = next((shot.reach for shot in now.shots if shot.chosen), float("nan"))
    rows.append(("reachability", _number(reach, 2)))
    return _rows(rows) + _shots(now.shots)


def _shots(shots: Sequence[Shot]) -> str:
    """The candidates with their energies, in the colours that their places on the floor have."""
    if not shots:
        return ""
    colours = shades(np.array([shot.energy for shot in shots]))
    cells = []
    for shot, rgb in list(zip(shots, colours))[:SHOWN_SHOTS]:
        dot = f"<span style='color:rgb({','.join(str(round(c)) for c in rgb)})'>&#9679;</span>"
        name = f"<b>{escape(shot.name)}</b>" if shot.chosen else escape(shot.name)
        cells.append(f"<tr><td>{dot} {name}</td>{_cell(_point(shot.target_xy_m))}{_cell(_number(shot.energy, 2))}</tr>")
    more = f"and {len(shots) - SHOWN_SHOTS} more" if len(shots) > SHOWN_SHOTS else ""
    head = "<tr style='opacity:.6'><td>considered</td>" + _cell("x, y m") + _cell("energy") + "</tr>"
    return _padded(f"<table style='{_TABLE}'>{head}{''.join(cells)}</table><span style='opacity:.6'>{more}</span>")


def _loop(now: Snapshot) -> str:
    rows = [
        ("plan, slowest", f"{_number(now.plan_ms, 1)}, {_number(now.slowest_ms, 1)} ms"),
        ("deadlines missed", f"{now.late} of {now.commands} commands"),
        ("surprise", _alarm(now.alarm)),
        ("surprise, last stroke", _number(now.surprise, 2)),
        ("dropped", ", ".join(f"{escape(name)} {n}" for name, n in sorted(now.drops.items())) or "nothing"),
    ]
    rows += [(f"node {escape(node)}", escape(state)) for node, state in sorted(now.states.items())]
    return _rows(rows)


def _alarm(alarm: Alarm | None) -> str:
    """Score, p and what is done about it."""
    if alarm is None:
        return "-"
    colour = "inherit" if alarm.grade == 0 else "#e69f00"
    text = f"{alarm.sensed.score:.1f}, p {alarm.sensed.p:.3f}, {GRADES[alarm.grade]}"
    return f"<span style='color:{colour}'>{text}</span>"


def _rows(rows: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td style='opacity:.6'>{name}</td>{_cell(value)}</tr>" for name, value in rows)
    return _padded(f"<table style='{_TABLE}'>{cells}</table>")


def _padded(html: str) -> str:
    return f"<div style='padding:2px 12px'>{html}</div>"


def _cell(text: str) -> str:
    return f"<td style='text-align:right'>{text}</td>"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "out of reach" if value == math.inf else "-"


def _point(xy_m: Any) -> str:
    return f"{xy_m[0]:.2f}, {xy_m[1]:.2f}" if np.isfinite(xy_m).all() else "-"
