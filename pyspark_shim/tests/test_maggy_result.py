"""Results have Maggy's keys."""

from pathlib import Path
from typing import Any

import pytest

import lethe
from lethe.maggy import config, experiment
from lethe.maggy.ablation import AblationStudy
from lethe.maggy.optimizer import Asha
from lethe.maggy.searchspace import Searchspace
from lethe.maggy.translate import translate
from lethe.result.result import Result
from lethe.result.sql import Tables


def trial(number: int, value: float | None, **changes: Any) -> dict[str, Any]:
    return {
        "trial": number,
        "state": "finished",
        "attempts": 1,
        "hparams": {"lr": number / 10},
        "value": value,
        "metrics": {} if value is None else {"metric": value, "loss": 1 - value},
        "epochs": number + 2,
        "error": None,
        "timing": {"idle_s": 0.0, "setup_s": 0.0, "train_s": 1.0},
        "slot": 0,
        "history": [],
        **changes,
    }


def failed(number: int) -> dict[str, Any]:
    return trial(number, None, state="failed", error="the training function raised KeyError: 'x'\n  at …")


def results(
    given: config.LagomConfig, *trials: dict[str, Any], function: Any = lambda: 0, end: str = "completed"
) -> Any:
    translation = translate(function, given)
    message = {
        "experiment": "x",
        "end": {"type": end},
        "best": None,
        "trials": list(trials),
        "slots": [],
        "wall_s": 1.0,
    }
    found = Result(
        message,
        objectives=translation.experiment.objectives,
        directory="/x",
        tables=Tables(Path("/x")),
        model=None,
        best_model_path=None,
    )
    answer = experiment.results(translation, found)
    assert answer.lethe is found
    return answer


def search(direction: str = "max", optimizer: Any = "randomsearch") -> config.HyperparameterOptConfig:
    space = Searchspace(lr=("DOUBLE", [0.0, 1.0]))
    return config.HyperparameterOptConfig(4, optimizer, space, direction=direction)


def test_of_a_search() -> None:
    trials = [trial(0, 0.5, state="stopped"), failed(1), trial(2, 0.75), trial(3, 0.75), trial(4, 0.25)]
    found = results(search(), *trials)
    assert dict(found) == {
        "best_id": "2",
        "best_val": 0.75,
        "best_config": {"lr": 0.2},
        "worst_id": "4",
        "worst_val": 0.25,
        "worst_config": {"lr": 0.4},
        "avg": 0.5625,
        "metric_list": [0.5, 0.75, 0.75, 0.25],
        "num_trials": 4,
        "early_stopped": 1,
        "num_epochs": 2,
        "trial_id": "0",
    }
    found = results(search("min"), *trials)
    assert (found["best_id"], found["worst_id"]) == ("4", "2")


def test_the_budget_is_part_of_the_best_configuration() -> None:
    """It can go straight into the `hparams` of a training with the same function."""
    found = results(search(optimizer=Asha(3, 1, 9)), trial(0, 0.5))
    assert found["best_config"] == {"lr": 0.0, "budget": 9}


def test_a_search_that_was_broken_off_says_what_there_is() -> None:
    assert dict(results(search(), end="cancelled")) == {
        "best_val": "n.a.",
        "num_trials": 0,
        "early_stopped": 0,
    }


def test_where_every_trial_failed_their_error_is_raised() -> None:
    with pytest.raises(lethe.ExperimentError, match=r"^all 2 trials failed; the first: .*KeyError: 'x'"):
        results(search(), failed(0), failed(1))
    with pytest.raises(lethe.ExperimentError, match=r"^the trial failed"):
        results(config.BaseConfig(), failed(0))


def test_of_an_ablation_study() -> None:
    study = AblationStudy(dataset_generator=lambda ablated_feature: None)
    study.features.include("age")
    study.model.set_base_model_generator(lambda: None)
    study.model.layers.include("hidden")

    def train(dataset_function: Any, model_function: Any) -> float:
        raise AssertionError("only its arguments are looked at")

    # Components of layers are before those of ablators.
    trials = [trial(0, 0.5), trial(1, 0.25), trial(2, 0.75)]
    found = results(config.AblationConfig(study), *trials, function=train)
    assert found["best_config"] == {"ablated_feature": "age", "ablated_layer": "None"}
    assert found["worst_config"] == {"ablated_feature": "None", "ablated_layer": "hidden"}
    assert found["num_trials"] == 3
    base = results(config.AblationConfig(study), trial(0, 0.5), failed(1), failed(2), function=train)
    assert base["best_config"] == {"ablated_feature": "None", "ablated_layer": "None"}


def test_of_trainings_and_single_runs() -> None:
    training = config.TfDistributedConfig(workers=1)
    assert dict(results(training, trial(0, 0.5))) == {"test result": 0.5}
    once = results(config.BaseConfig(), trial(0, 0.5))
    assert dict(once) == {"test result": {"metric": [0.5], "loss": [0.5]}}
