"""`Supervised` and the search that uses it agree before anything runs."""

from typing import Any

import pytest

import lethe
from lethe.supervised import OVERRIDES, check_experiment


def model(hparams: dict[str, Any]) -> Any:
    raise AssertionError("is not called")


def search(metric: str = "loss", **space: Any) -> lethe.Search:
    return lethe.Search(lethe.SearchSpace(**space), trials=1, metric=metric, direction="min")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"loss": "hinge"}, "loss must be None or one of cross_entropy"),
        ({"metrics": "accuracy"}, r"write metrics=\['accuracy'\]"),
        ({"metrics": ["f1"]}, "metric 'f1' is not one of"),
        ({"epochs": 0}, "epochs must be a whole number from 1"),
        ({"batch_size": 2.5}, "batch_size must be"),
        ({"drop_last": 1}, "drop_last must be True or False, not 1"),
        ({"lr": 0}, "lr must be above 0"),
        ({"weight_decay": -1}, "weight_decay must be a number from 0"),
        ({"grad_clip": 0}, "grad_clip must be None or above 0"),
        ({"optimizer": "lion"}, "optimizer must be one of adam"),
        ({"schedule": "linear"}, "schedule must be one of constant"),
    ],
)
def test_a_part_that_does_not_exist_is_refused(arguments: dict[str, Any], problem: str) -> None:
    with pytest.raises(lethe.ConfigError, match=problem):
        lethe.Supervised(model=model, **{"loss": "mse", **arguments})


def test_the_docstring_lists_every_part_that_a_hyperparameter_overrides() -> None:
    for name in OVERRIDES:
        assert f"    {name} *:" in str(lethe.Supervised.__doc__)


def test_an_overriding_domain_is_checked_like_the_part() -> None:
    train = lethe.Supervised(model=model, loss="mse")
    check_experiment(train, search(lr=lethe.loguniform(1e-4, 1), optimizer=lethe.choice("adam", "sgd")), True)
    with pytest.raises(lethe.ConfigError, match=r"optimizer=choice\('lion'\): optimizer must be one of"):
        check_experiment(train, search(optimizer=lethe.choice("lion")), True)
    with pytest.raises(lethe.ConfigError, match="batch_size must be a whole number"):
        check_experiment(train, search(batch_size=lethe.uniform(1.5, 64)), True)


@pytest.mark.parametrize(
    ("metrics", "asked", "validated", "remedy"),
    [
        ([], "accuracy", True, r"add it: Supervised\(…, metrics=\['accuracy'\]\)"),
        ([], "loss", False, "needs a validation set"),
        ([], "acuracy", True, "use one of train_loss, loss"),
        (["accuracy"], "accuracy", False, "need a validation set"),
    ],
)
def test_a_metric_that_no_trial_reports_is_refused(
    metrics: list[str], asked: str, validated: bool, remedy: str
) -> None:
    train = lethe.Supervised(model=model, loss="mse", metrics=metrics)
    with pytest.raises(lethe.ConfigError, match=remedy):
        check_experiment(train, search(asked, x=lethe.uniform(0, 1)), validated)


def test_a_module_with_its_own_steps_may_report_anything() -> None:
    check_experiment(lethe.Supervised(model=model), search("perplexity", x=lethe.uniform(0, 1)), False)
