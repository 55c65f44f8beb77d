"""The shot-type classifier: frozen weights, invariances, learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hjepa.errors import DataError
from hjepa.tasks.badminton import classify, flight
from hjepa.tasks.badminton.feed_report import refly_miss
from hjepa.tasks.badminton.strokes import TYPES, load_strokes


@pytest.fixture(scope="module")
def test_strokes() -> tuple[np.ndarray, np.ndarray]:
    table = load_strokes()
    rows = classify.usable_rows(table, "test")[::4]
    return classify.table_features(table, rows), table.type[rows]


def test_the_frozen_classifier_names_real_test_strokes(test_strokes: tuple[np.ndarray, np.ndarray]) -> None:
    score = classify.evaluate(classify.load_classifier(), *test_strokes)
    assert score.accuracy > 0.88 and score.macro > 0.87
    assert score.confusion.sum() == score.strokes == len(test_strokes[1])
    assert np.diag(score.confusion).sum() / score.strokes == pytest.approx(score.accuracy)


def test_probabilities_sum_to_one_and_extreme_features_stay_finite(test_strokes: tuple) -> None:
    p = classify.classify(test_strokes[0][:50])
    assert p.shape == (50, len(TYPES))
    np.testing.assert_allclose(p.sum(axis=-1), 1.0)
    assert np.isfinite(classify.classify(np.full((1, len(classify.FEATURES)), 1e9))).all()


def test_a_steep_fast_downward_shot_is_a_smash_and_a_high_deep_one_a_clear() -> None:
    x = np.array([[5.0, 1.0, 2.5], [5.8, 1.0, 2.3]])
    v = np.array([[-70.0, 0.0, -6.5], [-46.0, 2.0, 18.0]])
    answered = classify.incoming(np.array([[-2.0, 0, 0.8]] * 2), np.array([[14.0, 2.0, 14.0]] * 2), np.array([1.3] * 2))
    named = classify.classify(classify.stroke_features(x, v, answered)).argmax(axis=-1)
    assert [TYPES[k] for k in named] == ["smash", "clear"]


def test_the_robot_s_stroke_has_the_features_of_the_same_stroke_turned_round() -> None:
    launch_x, launch_v = np.array([[5.5, -1.0, 1.2]]), np.array([[-22.0, 3.0, 15.0]])
    time = np.array([1.1])
    contact, _ = flight.fly_to(launch_x, launch_v, time)
    out = np.array([[18.0, -4.0, 6.0]])
    got = classify.robot_features(launch_x, launch_v, time, contact, out)
    turn = np.array([-1.0, -1.0, 1.0])
    answered = classify.incoming(launch_x * turn, launch_v * turn, time)
    np.testing.assert_allclose(got, classify.stroke_features(contact * turn, out * turn, answered))
    mirror = np.array([1.0, -1.0, 1.0])  # left and right do not matter to the type
    np.testing.assert_allclose(
        got, classify.robot_features(launch_x * mirror, launch_v * mirror, time, contact * mirror, out * mirror)
    )


def test_the_hit_height_itself_is_not_read() -> None:
    assert not any("hit_height" in name or "hit_z" in name for name in classify.FEATURES)


def test_training_learns_and_repeats_for_a_seed(test_strokes: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = test_strokes
    first = classify.train(x[:1200], y[:1200], seed=1, epochs=30)
    again = classify.train(x[:1200], y[:1200], seed=1, epochs=30)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert classify.evaluate(first, x[1200:], y[1200:]).accuracy > 0.75


def test_the_gradient_agrees_with_finite_differences(test_strokes: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = test_strokes[0][:40], test_strokes[1][:40]
    model = classify.load_classifier()
    weight = np.linspace(0.5, 2.0, 40)

    def loss(c: classify.Classifier) -> float:
        p = classify.classify(x, c)
        return float(-(weight * np.log(p[np.arange(40), y])).mean())

    gradient = dict(zip(("w1", "b1", "w2", "b2", "w3", "b3"), classify._gradient(model, x, y, weight), strict=True))
    for name, index in (("w1", (2, 5)), ("b1", (3,)), ("w2", (7, 1)), ("b2", (0,)), ("w3", (4, 5)), ("b3", (6,))):
        sides = []
        for step in (1e-5, -1e-5):
            value = getattr(model, name).copy()
            value[index] += step
            sides.append(loss(model._replace(**{name: value})))
        assert gradient[name][index] == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_weights_survive_a_file_and_wrong_shapes_are_refused(tmp_path: Path, test_strokes: tuple) -> None:
    model = classify.load_classifier()
    classify.save_classifier(model, tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        for name, value in model._asdict().items():
            np.testing.assert_array_equal(file[name], value.astype(np.float32))
    with pytest.raises(DataError, match=r"allowed: \(N, 14\)"):
        classify.classify(np.zeros((3, 5)))


def test_the_report_s_reflown_miss_is_small_and_only_where_there_is_a_flight() -> None:
    table = load_strokes()
    miss = refly_miss(table)
    np.testing.assert_array_equal(np.isfinite(miss), table.valid)
    assert np.nanpercentile(miss, 99) < 0.01
