"""Search spaces and searches refuse what cannot be sampled, and name the parameter."""

from typing import Any

import numpy as np
import pytest

import lethe


def test_a_space_reads_as_it_was_written() -> None:
    space = lethe.SearchSpace(
        lr=lethe.loguniform(1e-4, 1e-1), width=lethe.integer(16, 256), act=lethe.choice("relu", "gelu")
    )
    assert repr(space) == (
        "SearchSpace(lr=loguniform(0.0001, 0.1), width=integer(16, 256), act=choice('relu', 'gelu'))"
    )
    assert list(space) == ["lr", "width", "act"]


@pytest.mark.parametrize(
    ("domain", "problem"),
    [
        (lethe.uniform(1, 0), "x=uniform.* swap them"),
        (lethe.loguniform(0, 1), "x=loguniform.* above 0"),
        (lethe.integer(1, 2.5), "x=integer.* must be integers"),  # type: ignore[arg-type]
        (lethe.uniform(0, float("nan")), "must be finite"),
        (lethe.uniform(False, True), "must be numbers"),
        (lethe.choice(), "at least one value"),
        (lethe.choice(object()), "not plain data"),
        (0.1, "x=0.1 is not a domain; .*choice"),
    ],
)
def test_a_domain_that_cannot_be_sampled_is_refused_by_name(domain: Any, problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=problem):
        lethe.SearchSpace(x=domain)


def test_numbers_of_numpy_travel_as_plain_ones() -> None:
    space = lethe.SearchSpace(a=lethe.choice(np.int64(3), np.float64(0.5)), b=lethe.integer(np.int32(1), 2))
    assert [type(value) for value in space["a"].values] == [int, float]
    assert space.message()[1] == {"name": "b", "domain": {"type": "integer", "low": 1, "high": 2}}


def test_choice_takes_a_list_or_values() -> None:
    assert lethe.choice([1, 2]) == lethe.choice(1, 2)
    assert lethe.choice("ab").values == ("ab",)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"trials": 0}, "trials must be"),
        ({"direction": "up"}, '"max" or "min"'),
        ({"optimizer": "tpe"}, "optimizer must be one of random"),
        ({"select": "first"}, "select must be"),
        ({"seed": -1}, "seed must be"),
        ({"stopping": "asha"}, "stopping must be"),
    ],
)
def test_a_search_names_the_argument_that_is_wrong(changes: dict[str, Any], problem: str) -> None:
    space = lethe.SearchSpace(x=lethe.uniform(0, 1))
    arguments = {"trials": 3, "metric": "loss", "direction": "min", **changes}
    with pytest.raises(lethe.ConfigError, match=problem):
        lethe.Search(space, **arguments)


def test_the_plan_carries_asha_and_the_space() -> None:
    space = lethe.SearchSpace(x=lethe.loguniform(0.1, 1))
    search = lethe.Search(space, trials=3, metric="loss", direction="min", stopping=lethe.ASHA(reduction=4))
    assert search.source() == {
        "type": "search",
        "space": [{"name": "x", "domain": {"type": "log_uniform", "low": 0.1, "high": 1}}],
        "trials": 3,
        "optimizer": {"type": "random"},
        "stopping": {"type": "asha", "reduction": 4, "min_epochs": 1},
    }
