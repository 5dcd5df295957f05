"""Layers of Keras models are left out by name."""

import os
from typing import Any

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is not installed")

import numpy as np  # noqa: E402

from lethe.ablation.check import check_layers  # noqa: E402
from lethe.ablation.component import Component  # noqa: E402
from lethe.ablation.layered import is_keras, layered  # noqa: E402
from lethe.errors import ModelError  # noqa: E402

ROWS = np.ones((3, 4), "float32")


def sequential() -> Any:
    dense = keras.layers.Dense
    model = keras.Sequential(
        [
            keras.Input((4,)),
            dense(4, name="first"),
            dense(4, name="encoder_0"),
            dense(6, name="encoder_1"),
            dense(2, name="head"),
        ]
    )
    model.compile("adam", "mse")
    return model


def functional() -> Any:
    one, other = keras.Input((4,), name="one"), keras.Input((4,), name="other")
    first = keras.layers.Dense(4, name="first")(one)
    second = keras.layers.Dense(4, name="second")(first)
    summed = keras.layers.Add(name="add")([first, second, other])
    model = keras.Model({"one": one, "other": other}, keras.layers.Dense(2, name="head")(summed))
    model.compile("adam", "mse")
    return model


class Own(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.head = keras.layers.Dense(2, name="head")

    def call(self, x: Any) -> Any:
        return self.head(x)


def numbers(found: Any) -> Any:
    return keras.ops.convert_to_numpy(found)


def test_a_sequential_goes_on_without_the_layer() -> None:
    whole = sequential()
    without = layered(lambda: whole, ["encoder_0"])()
    assert is_keras(without)
    assert [layer.name for layer in without.layers] == ["first", "encoder_1", "head"]
    expected = whole.get_layer("head")(whole.get_layer("encoder_1")(whole.get_layer("first")(ROWS)))
    np.testing.assert_allclose(numbers(without(ROWS)), numbers(expected), rtol=1e-5)
    without.fit(ROWS, np.ones((3, 2)), verbose=0)


def test_a_functional_model_is_bypassed() -> None:
    whole, rows = functional(), {"one": ROWS, "other": 2 * ROWS}
    without = layered(lambda: whole, ["second"])()
    first = whole.get_layer("first")(ROWS)
    expected = whole.get_layer("head")(keras.ops.add(keras.ops.add(first, first), 2 * ROWS))
    np.testing.assert_allclose(numbers(without(rows)), numbers(expected), rtol=1e-5)
    without.fit(rows, np.ones((3, 2)), verbose=0)


@pytest.mark.parametrize(
    ("make", "names", "problem"),
    [
        (sequential, ["encodr_0"], "^layer encodr_0: the model .* did you mean encoder_0"),
        (sequential, ["encoder_1"], "^layer encoder_1 cannot be left out: .*head.* value 6.*layer_groups"),
        (sequential, ["encoder."], "^layer encoder_0, encoder_1 cannot be left out"),
        (sequential, ["head"], r"would give \(None, 6\), and gives \(None, 2\) with it"),
        (sequential, ["first", "encoder.", "head"], "no layer is left"),
        (functional, ["add"], r"it gets 3 tensors and gives \(None, 4\)"),
        (functional, ["head"], r"it gets \(None, 4\) and gives \(None, 2\)"),
        (functional, ["one"], "there are: first, second, add, head"),
        (Own, ["head"], "neither a Sequential nor a functional model; give a changed model"),
    ],
)
def test_a_layer_that_cannot_be_left_out_is_named(make: Any, names: list[str], problem: str) -> None:
    with pytest.raises(ModelError, match=problem):
        layered(make, names)()


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="other backends' models are no modules")
def test_a_study_of_a_keras_model_is_checked_before_the_trials() -> None:
    sections = [{"name": "features", "dtype": "float32", "shape": [4]}]
    check_layers(sequential, [Component("layer first", layers=("first",))], {}, sections)
    with pytest.raises(ModelError, match="layer head cannot be left out"):
        check_layers(sequential, [Component("layer head", layers=("head",))], {}, sections)
