"""A search names the argument that is wrong, and travels as the protocol says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import lethe

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def search(**changes: Any) -> lethe.Search:
    space = lethe.SearchSpace(x=lethe.uniform(0, 1))
    return lethe.Search(**{"space": space, "trials": 3, "metric": "loss", "direction": "min", **changes})


class Mine(lethe.Optimizer):
    def ask(self, trial: int) -> dict[str, Any]:
        return {"x": 0.5}


class Ahead(Mine):
    allow_ahead = 0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"trials": 0}, "trials must be"),
        ({"trials": None}, "it has no end; give it trials, seconds or epochs"),
        ({"trials": None, "target": 0.1}, "it has no end"),
        ({"seconds": 0}, "seconds must be above 0"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"target": float("nan")}, "target must be a number"),
        ({"trial_seconds": -1}, "trial_seconds must be above 0"),
        ({"metric": ""}, "metric must be the name"),
        ({"direction": "up"}, '"max" or "min"'),
        ({"metric": ["a", "b"]}, "both as one string, or both as lists"),
        ({"metric": ["a", "b"], "direction": ["max"]}, "metric has 2 names and direction 1"),
        ({"metric": ["a", "a"], "direction": ["max", "min"]}, "metric names 'a' twice"),
        ({"optimizer": "tpee"}, "optimizer must be one of random, grid, sobol, tpe, gp, cmaes, nsga2"),
        ({"optimizer": lethe.TPE}, r"make one: TPE\(\)"),
        ({"select": "first"}, "select must be"),
        ({"seed": -1}, "seed must be"),
        ({"retries": -1}, "retries must be"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds must be"),
        ({"stopping": "asha"}, "stopping must be"),
        ({"enqueue": [{"x": 0}, {"x": 2}]}, "enqueue, point 2: x=uniform"),
        ({"stopping": lethe.PBT(every=1), "trials": None, "epochs": 9}, "trials must be given with PBT"),
        ({"stopping": lethe.PBT(every=1, parameters=["y"])}, "parameters names 'y'"),
    ],
)
def test_a_search_names_the_argument_that_is_wrong(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=problem):
        search(**changes)


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: lethe.ASHA(reduction=1), "ASHA: reduction"),
        (lambda: lethe.Hyperband(min_epochs=0), "Hyperband: min_epochs"),
        (lambda: lethe.BOHB(pause=1), "BOHB: pause"),  # type: ignore[arg-type]
        (lambda: lethe.Median(min_trials=0), "Median: min_trials"),
        (lambda: lethe.Threshold(float("inf")), "Threshold: bound"),
        (lambda: lethe.Patience(0), "Patience: epochs"),
        (lambda: lethe.Patience(1, min_delta=-1), "Patience: min_delta"),
        (lambda: lethe.PBT(every=1, quantile=0.6), "PBT: quantile"),
        (lambda: lethe.PBT(every=1, resample=2), "PBT: resample"),
        (lambda: lethe.Grid(points=1), "Grid: points"),
        (lambda: lethe.TPE(startup=0), "TPE: startup"),
        (lambda: lethe.CMAES(sigma=0), "CMAES: sigma"),
        (lambda: lethe.Grid(points=10**9), "Grid: points"),
        (lambda: lethe.CMAES(population=2), "CMAES: population"),
        (lambda: lethe.CMAES(population=4 * 10**9), "CMAES: population"),
        (lambda: lethe.NSGA2(population=1), "NSGA2: population"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(make: Any, problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=problem):
        make()


def test_the_plan_carries_the_budget_and_nothing_that_was_not_said() -> None:
    source = search(stopping=lethe.ASHA(reduction=4), seconds=60, target=0.1, trial_seconds=5).source(slots=2)
    assert source == {
        "type": "search",
        "space": [{"name": "x", "domain": {"type": "uniform", "low": 0, "high": 1}}],
        "budget": {"trials": 3, "seconds": 60, "target": 0.1, "trial_seconds": 5},
        "optimizer": {"type": "random"},
        "stopping": {"type": "asha", "reduction": 4, "min_epochs": 1, "pause": True},
    }


def examples(message: str) -> list[Any]:
    """The recorded messages of the protocol page."""
    return [
        json.loads(text)
        for text in re.findall(rf"```json {message}\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    ]


def test_every_optimizer_travels_as_the_protocol_page_says() -> None:
    ours: list[Any] = ["random", lethe.Grid(), "sobol", lethe.TPE(), "gp", lethe.CMAES(population=8), "nsga2"]
    sent = [search(optimizer=optimizer).source(2)["optimizer"] for optimizer in ours]
    assert sent == [example for example in examples("Optimizer") if example["type"] != "external"]


def test_every_rule_travels_as_the_protocol_page_says() -> None:
    space = lethe.SearchSpace(lr=lethe.loguniform(0.1, 1), n=lethe.integer(1, 2))
    rules = [
        None,
        lethe.ASHA(pause=False),
        lethe.Hyperband(),
        lethe.Median(),
        lethe.Threshold(0.5, min_epochs=3),
        lethe.Patience(5, min_delta=0.001),
        lethe.PBT(every=4),
    ]
    assert [search(space=space, stopping=rule).source(2)["stopping"] for rule in rules] == examples(
        "Stopping"
    )


def test_a_whole_search_travels_as_the_protocol_page_says() -> None:
    space = lethe.SearchSpace(
        lethe.constraint("layers * batch_size < 2048"),
        batch_size=lethe.ordinal(32, 64, 128),
        layers=lethe.integer(1, 64, log=True),
        optimizer=lethe.choice("adam", "sgd"),
        momentum=lethe.uniform(0.0, 0.9, step=0.1).when(optimizer="sgd"),
    )
    found = lethe.Search(
        space,
        trials=60,
        metric="accuracy",
        direction="max",
        seconds=600.0,
        epochs=1000,
        target=0.98,
        trial_seconds=60.0,
        optimizer="tpe",
        enqueue=[{"optimizer": "sgd", "momentum": 0.9}],
    )
    assert found.source(2) in examples("Source")


def test_two_metrics_travel_with_their_directions() -> None:
    found = search(metric=["accuracy", "loss"], direction=["max", "min"])
    assert found.objective() in examples("Objective")
    assert found.objectives == {"accuracy": "max", "loss": "min"}


def test_an_own_optimizer_is_asked_ahead_for_each_slot_or_as_it_says() -> None:
    sent = search(optimizer=Mine()).source(5)["optimizer"]
    assert sent == {"type": "external", "name": f"{__name__}.Mine", "ahead": 5}
    assert search(optimizer=Ahead()).source(5)["optimizer"]["ahead"] == 0


def test_bohb_is_hyperband_with_tpe_unless_another_is_named() -> None:
    source = search(stopping=lethe.BOHB(reduction=4)).source(1)
    assert source["optimizer"]["type"] == "tpe"
    assert source["stopping"] == {"type": "hyperband", "reduction": 4, "min_epochs": 1, "pause": True}
    assert search(stopping=lethe.BOHB(), optimizer="random").source(1)["optimizer"]["type"] == "random"


def test_the_point_of_all_defaults_goes_first() -> None:
    space = lethe.SearchSpace(x=lethe.uniform(0, 1, default=0.5), n=lethe.integer(1, 9, default=3))
    assert search(space=space).source(1)["enqueued"] == [{"x": 0.5, "n": 3}]
    assert search(space=space, enqueue=[{"x": 1}]).source(1)["enqueued"] == [{"x": 1.0, "n": 3}]
    assert "enqueued" not in search(space=space, optimizer="grid").source(1)
    half = lethe.SearchSpace(x=lethe.uniform(0, 1, default=0.5), n=lethe.integer(1, 9))
    assert "enqueued" not in search(space=half).source(1)
    refused = lethe.SearchSpace(lethe.constraint(lambda h: h["x"] > 0.6), x=lethe.uniform(0, 1, default=0.5))
    assert "enqueued" not in search(space=refused).source(1)
    assert search(space=refused).source(1)["checked"] is True


def test_defaults_that_a_constraint_does_not_allow_together_are_not_tried() -> None:
    space = lethe.SearchSpace(
        lethe.constraint("layers * width <= 64"),
        layers=lethe.integer(1, 4, default=2),
        width=lethe.integer(8, 64, default=64),
    )
    assert "enqueued" not in search(space=space).source(1)
    allowed = [{"layers": 1, "width": 64}]
    assert search(space=space, enqueue=[{"layers": 1}]).source(1)["enqueued"] == allowed
    with pytest.raises(lethe.ConfigError) as caught:
        search(space=space, enqueue=[{"layers": 1}, {"layers": 3}])
    for part in ("enqueue, point 2", "defaults", '"layers":3,"width":64', '"layers * width <= 64"'):
        assert part in str(caught.value)


def test_pbt_changes_what_is_continuous_unless_it_is_told() -> None:
    space = lethe.SearchSpace(lr=lethe.loguniform(0.1, 1), n=lethe.integer(1, 9), o=lethe.choice("a"))
    assert search(space=space, stopping=lethe.PBT(every=1)).source(1)["stopping"]["parameters"] == ["lr"]
    parents = lethe.SearchSpace(
        lr=lethe.loguniform(0.1, 1),
        drop=lethe.uniform(0, 0.5, step=0.25),
        kind=lethe.choice("a", "b").when(drop=0.5),
    )
    found = search(space=parents, stopping=lethe.PBT(every=1)).source(1)["stopping"]
    assert found["parameters"] == ["lr"], "whether `kind` exists depends on `drop`"
    only = lethe.SearchSpace(n=lethe.integer(1, 9))
    with pytest.raises(lethe.ConfigError, match="no continuous parameter"):
        search(space=only, stopping=lethe.PBT(every=1))
    told = lethe.PBT(every=1, parameters=["n"])
    assert search(space=only, stopping=told).source(1)["stopping"]["parameters"] == ["n"]
