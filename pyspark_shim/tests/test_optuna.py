"""Optuna's samplers by ask and tell: every domain, conditions, states and curves."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import lethe
from lethe.optimizers.optuna_sampler import OptunaOptimizer, decoded, encoded

SPACE = lethe.SearchSpace(
    momentum=lethe.uniform(0.0, 0.95, step=0.1).when(optimizer="sgd"),
    optimizer=lethe.choice("adam", "sgd"),
    lr=lethe.loguniform(1e-4, 1e-1),
    dropout=lethe.uniform(0, 1),
    layers=lethe.integer(1, 64, log=True),
    width=lethe.integer(16, 250, step=16),
    size=lethe.ordinal("small", "medium", "large"),
    shape=lethe.choice([1, 2], [3], None),
    mixed=lethe.choice(1, True, "1"),
)


@pytest.fixture(autouse=True)
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def begun(sampler: Any = None, space: lethe.SearchSpace = SPACE, **changes: Any) -> OptunaOptimizer:
    optimizer = lethe.optuna(sampler or optuna.samplers.RandomSampler(seed=1))
    arguments = {"trials": 9, "metric": "loss", "direction": "min", "optimizer": optimizer, **changes}
    optimizer.begin(lethe.Search(space, **arguments))
    return optimizer


def asked(optimizer: OptunaOptimizer, trial: int) -> dict[str, Any]:
    found = optimizer.ask(trial)
    assert found is not None
    return found


def study(optimizer: OptunaOptimizer) -> optuna.Study:
    assert optimizer.study is not None
    return optimizer.study


def curve(*losses: float) -> dict[int, dict[str, float]]:
    return {epoch: {"loss": loss} for epoch, loss in enumerate(losses, 1)}


def test_every_suggestion_lies_in_the_space() -> None:
    optimizer, seen = begun(), set()
    for trial in range(200):
        hparams = asked(optimizer, trial)
        assert SPACE.point(hparams, whole=True) == hparams
        assert ("momentum" in hparams) == (hparams["optimizer"] == "sgd")
        seen.add((hparams["optimizer"], hparams["size"], str(hparams["shape"]), repr(hparams["mixed"])))
    assert len(seen) > 50, "of 54 combinations"


def test_a_value_is_found_again_by_optuna() -> None:
    for name, domain in SPACE.items():
        for trial in range(20):
            value = asked(begun(optuna.samplers.RandomSampler(seed=trial)), 0).get(name)
            if name != "momentum" or value is not None:
                again = decoded(domain, encoded(domain, value))
                assert again == value
                assert type(again) is type(value)


def test_results_reach_the_study_with_their_states_and_curves() -> None:
    optimizer = begun()
    hparams = [asked(optimizer, trial) for trial in range(4)]
    optimizer.tell(lethe.Trial(2, hparams[2], "stopped", (0.7,), curve(0.9, 0.7)))
    optimizer.tell(lethe.Trial(0, hparams[0], "finished", (0.5,), curve(0.8, 0.5)))
    optimizer.tell(lethe.Trial(1, hparams[1], "failed"))
    optimizer.tell(lethe.Trial(3, hparams[3], "finished", (math.nan,), curve(math.nan)))
    found = study(optimizer).trials
    states = [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.FAIL]
    assert [trial.state for trial in found] == states
    assert [found[0].value, found[2].value] == [0.5, 0.7]
    assert found[2].intermediate_values == {1: 0.9, 2: 0.7}
    assert study(optimizer).best_trial.number == 0


def test_trials_that_the_sampler_did_not_suggest_teach_it_too() -> None:
    optimizer = begun()
    for number, state in enumerate(("finished", "stopped")):
        hparams = {**asked(begun(optuna.samplers.RandomSampler(seed=5)), 0), "dropout": 0.25}
        optimizer.tell(lethe.Trial(number, hparams, state, (0.5,), curve(0.6, 0.5)))
    found = study(optimizer).trials
    assert [(trial.state, trial.value) for trial in found] == [
        (TrialState.COMPLETE, 0.5),
        (TrialState.PRUNED, 0.5),
    ]
    assert found[0].params["dropout"] == 0.25


def test_a_sampler_learns_from_what_it_is_told() -> None:
    space = lethe.SearchSpace(x=lethe.uniform(0, 1))
    optimizer = begun(optuna.samplers.TPESampler(seed=3, n_startup_trials=10), space)
    values = []
    for trial in range(60):
        hparams = asked(optimizer, trial)
        values.append(abs(hparams["x"] - 0.3))
        optimizer.tell(lethe.Trial(trial, hparams, "finished", (values[-1],), curve(values[-1])))
    assert sum(values[-20:]) < 0.5 * sum(values[:20])


def test_a_refused_suggestion_is_drawn_anew() -> None:
    optimizer = begun()
    first, second = asked(optimizer, 0), asked(optimizer, 0)
    assert first != second
    optimizer.tell(lethe.Trial(0, second, "finished", (0.5,), curve(0.5)))
    assert [trial.state for trial in study(optimizer).trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_a_grid_ends() -> None:
    grid = {"x": [1, 2], "y": ["a", "b"]}
    space = lethe.SearchSpace(x=lethe.integer(1, 2), y=lethe.choice("a", "b"))
    optimizer = begun(optuna.samplers.GridSampler(grid), space)
    points = set()
    for trial in range(4):
        hparams = asked(optimizer, trial)
        points.add(tuple(hparams.values()))
        optimizer.tell(lethe.Trial(trial, hparams, "finished", (0.5,), curve(0.5)))
    assert points == {(1, "a"), (1, "b"), (2, "a"), (2, "b")}
    assert optimizer.ask(4) is None


def test_several_objectives_make_a_pareto_front() -> None:
    optimizer = begun(
        optuna.samplers.NSGAIISampler(seed=1), metric=["loss", "size"], direction=["min", "max"]
    )
    for trial, (state, values) in enumerate(
        [("finished", (1.0, 1.0)), ("stopped", (0.5, 2.0)), ("finished", ())]
    ):
        optimizer.tell(lethe.Trial(trial, asked(optimizer, trial), state, values, curve(1.0)))
    assert [trial.number for trial in study(optimizer).best_trials] == [1]
    assert study(optimizer).trials[2].state == TrialState.FAIL


def test_the_journal_knows_it_by_its_sampler() -> None:
    assert begun().name == "optuna.samplers.RandomSampler"


def test_what_is_no_sampler_is_refused() -> None:
    with pytest.raises(lethe.ConfigError, match=r"takes a sampler such as"):
        lethe.optuna("tpe")  # type: ignore[arg-type]
    with pytest.raises(lethe.ConfigError, match=r"write lethe\.optuna\(…\) around"):
        begun(optimizer=optuna.samplers.RandomSampler())
