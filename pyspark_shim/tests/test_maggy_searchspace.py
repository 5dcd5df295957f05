"""Maggy's search space keeps its manners, and is the same space in Lethe."""

import pickle
import random
from typing import Any

import pytest

import lethe
from lethe.maggy import Searchspace
from lethe.maggy.searchspace import grid_size, space_of


def space() -> Searchspace:
    found = Searchspace(lr=("DOUBLE", [0.1, 1.1]), units=("INTEGER", [2, 10]))
    found.add("batch", ("discrete", [64, 16, 32]))
    found.add("kind", ["CATEGORICAL", ("relu", "tanh", "elu")])
    return found


def test_names_types_and_values_can_be_read_in_their_order() -> None:
    found = space()
    assert found.names() == {
        "lr": "DOUBLE",
        "units": "INTEGER",
        "batch": "DISCRETE",
        "kind": "CATEGORICAL",
    }
    assert found.keys() == list(found.names())
    assert found.values()[0] == (Searchspace.DOUBLE, [0.1, 1.1])
    assert found.lr == found.get("lr") == [0.1, 1.1]
    assert found.get("none") is None
    assert found.get("none", 3) == 3
    assert "lr" in found
    assert "none" not in found
    assert not hasattr(found, "none")
    assert [one["name"] for one in found] == found.keys()
    assert next(iter(found.items())) == {"name": "lr", "type": "DOUBLE", "values": [0.1, 1.1]}


def test_two_iterations_do_not_disturb_each_other() -> None:
    found = space()
    pairs = [(one["name"], other["name"]) for one in found for other in found]
    assert len(set(pairs)) == 16


def test_a_space_is_made_again_of_its_dictionary() -> None:
    found = space()
    assert Searchspace(**found.to_dict()).to_dict() == found.to_dict()
    assert str(found) == found.json() == Searchspace(**found.to_dict()).json()
    assert pickle.loads(pickle.dumps(found)).to_dict() == found.to_dict()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("lr", ("DOUBLE", [0, 1]), "'lr' already"),
        ("names", ("DOUBLE", [0, 1]), "'names' is reserved"),
        ("_parameters", ("DOUBLE", [0, 1]), "is reserved"),
        ("x", 3, "must be a pair"),
        ("x", ("DOUBLE", [0, 1], 2), "must be a pair"),
        ("x", ("FLOAT", [0, 1]), "the type must be DOUBLE, INTEGER, DISCRETE or CATEGORICAL"),
        ("x", ("DOUBLE", []), "bounds must be a list, not empty"),
        ("x", ("CATEGORICAL", []), "values must be a list, not empty"),
        ("x", ("DOUBLE", [1, 2, 3]), "has two bounds"),
        ("x", ("DOUBLE", ["low", 1]), "bounds of a DOUBLE must be numbers"),
        ("x", ("INTEGER", [1.5, 3]), "bounds of an INTEGER must be whole numbers"),
        ("x", ("INTEGER", [3, 3]), "lower bound must be below"),
    ],
)
def test_what_cannot_be_a_hyperparameter_is_a_value_error(name: str, value: Any, problem: str) -> None:
    found = space()
    with pytest.raises(ValueError, match=problem):
        found.add(name, value)
    assert len(found) == 4


def test_random_points_lie_in_the_space() -> None:
    random.seed(7)
    points = space().get_random_parameter_values(200)
    random.seed(7)
    assert space().get_random_parameter_values(200) == points
    searched = space_of(space())
    assert all(searched.point(point, whole=True) == point for point in points)
    assert {point["units"] for point in points} == set(range(2, 11))


@pytest.mark.parametrize("normalized", [False, True])
def test_a_point_comes_back_from_its_numbers(normalized: bool) -> None:
    found = space()
    point = {"lr": 0.6, "units": 4, "batch": 16, "kind": "elu"}
    numbers = found.transform(found.dict_to_list(point), normalize_categorical=normalized)
    assert numbers == pytest.approx([0.5, 0.25, 0.5, 1.0] if normalized else [0.5, 0.25, 1, 2])
    back = found.list_to_dict(found.inverse_transform(numbers, normalize_categorical=normalized))
    assert back == {**point, "lr": pytest.approx(0.6)}
    assert found.transform([9.0, 2, 64, "relu"])[0] == 1, "what is outside becomes the bound"
    with pytest.raises(ValueError, match="3 values were given for 4"):
        found.list_to_dict([1, 2, 3])


def test_domains_of_lethe() -> None:
    assert dict(space_of(space())) == {
        "lr": lethe.uniform(0.1, 1.1),
        "units": lethe.integer(2, 10),
        "batch": lethe.ordinal(16, 32, 64),
        "kind": lethe.choice("relu", "tanh", "elu"),
    }
    words = Searchspace(size=("DISCRETE", ["small", "large"]))
    assert space_of(words)["size"] == lethe.choice("small", "large")
    single = Searchspace(only=("CATEGORICAL", [[1, 2]]))
    assert space_of(single)["only"].values == ([1, 2],)


def test_the_size_of_a_grid() -> None:
    assert grid_size(space(), points=5) == 5 * 9 * 3 * 3
