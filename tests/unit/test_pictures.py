"""pytest tests/unit/test_pictures.py: pictures from small arrays."""

import csv
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from PIL import Image

from hjepa.errors import DataError
from hjepa.evaluation.results import StrokeResult
from hjepa.viewer import palette
from hjepa.viewer.pictures import energy, landing, latent, ledger, levels, probes, shots, times
from hjepa.viewer.pictures.paper import Picture, encoded, save

RNG = np.random.default_rng(0)
NOTE = "hjepa 0.1.0; commit abc"


@cache
def a_latent() -> Picture:
    names = ("landing depth, m", "landing across, m", "time to floor, s", "hit height, m", "speed, log m/s")
    truths = {name: RNG.normal(size=60) for name in names}
    found = latent.LatentMap(
        RNG.normal(size=(60, 3)), np.array([0.5, 0.3, 0.1]), np.arange(60) % 10, truths,
        RNG.uniform(-1, 1, (5, 3)), RNG.random(5),
    )  # fmt: skip
    return latent.draw(found, NOTE)


def some_shots(who: str, n: int) -> shots.Shots:
    return shots.Shots(who, np.arange(n) % 4 + 2, RNG.uniform(-6, 0, (n, 2)), RNG.uniform(0, 6, (n, 2)))


@cache
def a_shot_map() -> Picture:
    return shots.draw([some_shots("real players", 40), some_shots("robot", 3)], NOTE)


def results(n: int = 12) -> list[StrokeResult]:
    return [
        StrokeResult(
            id=str(k), hit=k > 0, returned=k > 1, fault="" if k > 1 else "miss", feasible=True, feed_type="clear",
            commanded_type=("drop", "lob")[k % 2], target_xy_m=(3.0, 1.0),
            landing_xy_m=(3.0 + 0.02 * k, 1.0 - 0.03 * (k % 5)) if k > 1 else (-0.5, 0.0),
        )
        for k in range(n)
    ]  # fmt: skip


@cache
def a_landing() -> Picture:
    return landing.draw(results(), NOTE)


@cache
def a_probe_table() -> Picture:
    r2 = np.array([[1.0, 0.5], [-0.1, np.nan]])
    found = probes.ProbeTable(("landing", "speed"), ("low: z", "high: s"), (103, 16), r2, 90, 30)
    return probes.draw(found, NOTE)


@cache
def a_landscape() -> Picture:
    x = np.linspace(-1, 1, 9)
    bowl = 0.2 + 40 * (x[:, None] ** 2 + x**2)
    planes = tuple(energy.Slice(f"plane {k}", "across", "up", x, x, bowl) for k in range(3))
    low = energy.Stacked(("plan",), {"goal": np.array([0.15]), "haste": np.array([0.05])}, 0)
    terms = {"unlikely to win": np.array([0.1, 0.4, 90.0]), "hard to reach": np.array([0.2, 0.0, 0.3])}
    high = energy.Stacked(("drop to 3.0, +1.0 m", "lob to 6.0, +1.0 m", "clear to 6.1, -1.0 m"), terms, 0)
    return energy.draw(energy.Landscape("Answer to a lob (stroke 3)", 0.2, planes, low, high), NOTE)


@cache
def a_ledger() -> Picture:
    legs = RNG.uniform(1, 5, (30, 4))
    legs[:, 0] = np.nan  # a graph without a high level
    whole = np.nansum(legs, axis=1)
    late = np.arange(30) == 7
    names = ("observed -> goal", "goal -> latent", "latent -> command", "command -> actuated")
    return ledger.draw(ledger.Ledgers(names, legs, whole, late, np.where(late, -2.0, 10.0)), NOTE)


@cache
def a_histogram() -> Picture:
    return times.draw([5.0, 6.0, 9.0], [], (30, 40), NOTE)


@cache
def levels_probed() -> Picture:
    r2 = np.array([[1.0, 0.5], [-0.1, np.nan]])
    found = probes.ProbeTable(("landing point", "speed"), ("low", "high"), (103, 16), r2, 90, 30)
    return levels.draw_probes({"linear": found, "MLP": found}, (0.2, 0.8), NOTE)


@cache
def levels_by_time() -> Picture:
    line, unknown = RNG.random((5, 3)), np.full((5, 3), np.nan)
    which = [(level, kind) for level in ("low", "high") for kind in ("linear", "MLP")]
    known, blank = dict.fromkeys(which, line), dict.fromkeys(which, unknown)
    curves = [
        levels.ByTime("landing point", "m", known, known, {"low": 0.95}),
        levels.ByTime("time", "s", blank, known, {}),
    ]
    return levels.draw_times(curves, np.linspace(0.0, 1.0, 6).tolist(), NOTE)


@cache
def levels_ahead() -> Picture:
    over = np.array([[1.2, 1.1, 1.3], [0.3, 0.2, 0.4]])
    found = [levels.StepsAhead("low: z", "20 ms", over), levels.StepsAhead("high: s", "a stroke", over / 2)]
    return levels.draw_steps(found, NOTE)


@cache
def levels_acting() -> Picture:
    gap = RNG.normal(size=20)
    found = [levels.Changed(name, "m", gap, 0.9 * gap, "R2 0.99, n 20") for name in ("depth", "across")]
    return levels.draw_actions([*found, levels.Changed("net", "m", gap[:0], gap[:0], "n 0")], NOTE)


LEVELS = (levels_probed, levels_by_time, levels_ahead, levels_acting)
ALL = (a_latent, a_shot_map, a_landing, a_probe_table, a_landscape, a_ledger, a_histogram, *LEVELS)


@pytest.mark.parametrize("make", ALL)
def test_every_picture_is_written_as_png_and_svg_with_its_numbers(make: Callable[[], Picture], tmp_path: Path) -> None:
    picture = make()
    written = save(picture, tmp_path, ("png", "svg"))
    assert [path.name for path in written] == [f"{picture.name}.{end}" for end in ("png", "svg", "csv")]
    with Image.open(written[0]) as image:
        assert image.format == "PNG"
        assert image.size == pytest.approx(110 * picture.figure.get_size_inches(), abs=1)
        assert len(set(image.convert("L").resize((64, 64)).tobytes())) > 8  # something is drawn
    assert ET.parse(written[1]).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    with written[2].open() as file:
        assert len(list(csv.DictReader(file))) == len(picture.rows) > 0


@pytest.mark.parametrize("make", ALL)
def test_every_picture_says_in_words_what_is_seen_and_where_it_comes_from(make: Callable[[], Picture]) -> None:
    picture = make()
    assert len(picture.says) > 10
    assert picture.figure.get_suptitle()
    assert picture.figure.get_supxlabel() == NOTE


def panels(figure: Figure) -> list[Axes]:
    """Those that show data, not a colour bar."""
    return [axes for axes in figure.get_axes() if axes.get_label() != "<colorbar>"]


@pytest.mark.parametrize("make", ALL)
def test_every_text_is_at_least_nine_points_but_for_the_small_print(make: Callable[[], Picture]) -> None:
    figure = make().figure
    words = [text for axes in figure.get_axes() for text in axes.findobj(lambda a: hasattr(a, "get_fontsize"))]
    assert min(text.get_fontsize() for text in words if text.get_text().strip()) >= 9


@pytest.mark.parametrize("make", [a_latent, a_shot_map, a_landscape, a_ledger, a_histogram])
def test_every_panel_has_a_title(make: Callable[[], Picture]) -> None:
    assert all(axes.get_title(loc="left") for axes in panels(make().figure))


@pytest.mark.parametrize("make", [a_shot_map, a_landing, a_probe_table, a_ledger, a_histogram, a_landscape, *LEVELS])
def test_nothing_of_a_picture_lies_outside_its_sheet(make: Callable[[], Picture]) -> None:
    figure = make().figure
    figure.canvas.draw()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0) > -0.05
    assert box.x1 < width + 0.05 and box.y1 < height + 0.05


@pytest.mark.parametrize("make", ALL)
def test_no_legend_covers_the_small_print_or_the_title(make: Callable[[], Picture]) -> None:
    figure = make().figure
    figure.canvas.draw()
    small, title = (part.get_window_extent() for part in (figure._supxlabel, figure._suptitle))
    for legend in figure.findobj(Legend):
        box = legend.get_window_extent()
        assert box.y0 > small.y1 - 1 or box.x0 > small.x1
        assert box.y1 < title.y0 + 1


def test_the_latent_map_names_every_type_and_tells_the_axis_it_is_organised_by() -> None:
    depth = RNG.normal(size=40)
    truths = {name: RNG.normal(size=40) for name in latent.COLOURED} | {"landing depth, m": depth}
    r = np.full((len(truths), 2), 0.1)
    r[list(truths).index("landing depth, m"), 0] = -0.93
    kinds = np.arange(40) % 3 + 2
    found = latent.LatentMap(np.c_[-depth, depth], np.array([0.7, 0.2]), kinds, truths, r, np.ones(len(truths)))
    picture = latent.draw(found, NOTE)
    assert "landing depth (r -0.93)" in picture.says
    legend = picture.figure.subfigs[0].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["net shot", "clear", "drop"]


def test_the_shot_map_has_a_court_for_each_type_and_player_with_its_count() -> None:
    axes = panels(a_shot_map().figure)
    assert len(axes) == 2 * 4
    assert [a.get_title(loc="left") for a in axes[:2]] == ["net shot\nn = 10", "clear\nn = 10"]
    assert axes[-1].get_title(loc="left").endswith("n = 0")
    hit, fell = axes[0].lines[-2:]
    assert len(hit.get_xdata()) == len(fell.get_xdata()) == 10


def test_predictions_that_are_worse_than_copy_last_are_named() -> None:
    assert "low: z" in levels_ahead().says and "high: s" not in levels_ahead().says


def test_landings_are_told_apart_by_shape_as_well_as_by_colour() -> None:
    court = a_landing().figure.get_axes()[0]
    looks = {line.get_label(): line for line in court.lines if not line.get_label().startswith("_")}
    assert set(looks) == {"target", "returned", "lost"}
    assert len({line.get_marker() for line in (looks["returned"], looks["lost"])}) == 2
    assert len(looks["lost"].get_xdata()) == 1


def test_an_ellipse_holds_its_share_of_a_normal_distribution() -> None:
    rng = np.random.default_rng(3)
    gap = rng.multivariate_normal([0.2, -0.1], [[0.3, 0.2], [0.2, 0.25]], size=4000)
    for share in (0.5, 0.95):
        path = landing.ellipse(gap, share)
        inside = path.get_path().contains_points(path.get_patch_transform().inverted().transform(gap[:, ::-1]))
        assert inside.mean() == pytest.approx(share, abs=0.02)


def test_a_run_without_a_hit_is_drawn_and_says_so() -> None:
    picture = landing.draw([StrokeResult(id="a", fault="miss")], NOTE)
    said = [text.get_text() for axes in picture.figure.get_axes() for text in axes.texts]
    assert said.count("no stroke was hit") == 2
    assert picture.says == "0 of 1 strokes returned"
    encoded(picture.figure, "png")


def test_a_bar_that_is_far_too_long_is_cut_and_keeps_its_number() -> None:
    bars = panels(a_landscape().figure)[3]
    said = [text.get_text().strip() for text in bars.texts]
    assert said == ["90.20 (cut)", "0.30", "0.20"]
    assert bars.get_xlim()[1] < 90
    assert [tick.get_weight() for tick in bars.get_yticklabels()] == ["normal", "normal", "bold"]


def test_the_same_picture_is_the_same_file() -> None:
    first, second = (encoded(landing.draw(results(3), NOTE).figure, "svg") for _ in range(2))
    assert first == second


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'svg'.*allowed: png, svg"):
        save(a_histogram(), tmp_path, ("svgz",))
    assert not list(tmp_path.iterdir())


def lightness(colour: str) -> float:
    """CIE L* of sRGB."""
    rgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = float(linear @ [0.2126, 0.7152, 0.0722])
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def deuteranope(colour: str) -> np.ndarray:
    """What is seen without green cones, linear RGB (Vienot, Brettel & Mollon 1999)."""
    rgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]) ** 2.2
    return np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]]) @ rgb


def test_colours_of_a_series_differ_for_a_deuteranope() -> None:
    for k, one in enumerate(palette.SERIES[:6]):
        for other in palette.SERIES[k + 1 : 6]:
            apart = math.dist(deuteranope(one), deuteranope(other))
            assert apart > 0.1 or abs(lightness(one) - lightness(other)) > 15, (one, other)


def test_every_type_has_a_colour_and_a_marker_of_its_own() -> None:
    assert len(set(palette.TYPE_COLOURS)) == len(set(palette.TYPE_MARKERS)) == 11
