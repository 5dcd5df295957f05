"""LightGBM reports its rounds, and ends when its trial does."""

from typing import Any

import pytest

lightgbm = pytest.importorskip("lightgbm", reason="LightGBM is not installed")

import numpy as np  # noqa: E402
from reporting import Trial  # noqa: E402

import lethe  # noqa: E402
from lethe.callbacks.lightgbm import LightGBMReport  # noqa: E402

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=(300, 4))
Y = (X[:, 0] + 0.5 * RANDOM.normal(size=300) > 0).astype(int)
HPARAMS = {"objective": "binary", "metric": ["binary_logloss", "binary_error"], "num_threads": 1}
QUIET = {"verbosity": -1, "num_leaves": 4}


class Rounds:
    before_iteration = True

    def __init__(self) -> None:
        self.begun = 0

    def __call__(self, env: Any) -> None:
        self.begun += 1


def train(*callbacks: Any, rounds: int = 4, **arguments: Any) -> tuple[Any, Any]:
    history: dict[str, Any] = {}
    rows = lightgbm.Dataset(X[:200], Y[:200], free_raw_data=False)
    held_out = lightgbm.Dataset(X[200:], Y[200:], reference=rows, free_raw_data=False)
    arguments = {"valid_sets": [held_out, rows], "valid_names": ["validation", "training"], **arguments}
    recorded = [lightgbm.record_evaluation(history), *callbacks]
    model = lightgbm.train({**HPARAMS, **QUIET}, rows, rounds, callbacks=recorded, **arguments)
    return model, history


def test_rounds_are_reported_as_in_the_history() -> None:
    trial = Trial("loss")
    _, history = train(LightGBMReport(trial.reporter, "validation-binary_logloss"))
    assert trial.steps == [1, 2, 3, 4]
    for place, values in enumerate(trial.values):
        assert values == {
            "loss": history["validation"]["binary_logloss"][place],
            "validation-binary_error": history["validation"]["binary_error"][place],
            "training-binary_logloss": history["training"]["binary_logloss"][place],
            "training-binary_error": history["training"]["binary_error"][place],
        }


def test_the_estimators_report_too() -> None:
    trial = Trial("loss")
    report = LightGBMReport(trial.reporter, "valid_0-binary_logloss", every=2)
    model = lightgbm.LGBMClassifier(n_estimators=4, n_jobs=1, **QUIET)
    model.fit(X[:200], Y[:200], eval_set=[(X[200:], Y[200:])], callbacks=[report])
    history = model.evals_result_["valid_0"]["binary_logloss"]
    assert trial.reports == [(1, {"loss": history[1]}), (2, {"loss": history[3]})]


def test_cross_validation_reports_means_and_deviations() -> None:
    trial = Trial("loss")
    report = LightGBMReport(trial.reporter, "valid-binary_logloss")
    rows = lightgbm.Dataset(X, Y)
    table = lightgbm.cv({**HPARAMS, **QUIET}, rows, 3, nfold=3, seed=1, callbacks=[report])
    assert [values["loss"] for values in trial.values] == table["valid binary_logloss-mean"]
    found = [values["valid-binary_logloss-std"] for values in trial.values]
    assert found == table["valid binary_logloss-stdv"]


def test_a_stopped_trial_ends_the_training() -> None:
    trial, rounds = Trial("loss", stop=2), Rounds()
    with pytest.raises(lethe.TrialStopped):
        train(rounds, LightGBMReport(trial.reporter, "validation-binary_logloss"))
    assert (trial.steps, rounds.begun) == ([1, 2], 2)


def test_a_metric_that_is_not_evaluated_is_said_after_the_first_round() -> None:
    trial, rounds = Trial("auc"), Rounds()
    expected = (
        "'validation-auc' is not reported, but training-binary_error, training-binary_logloss, "
        "validation-binary_error, validation-binary_logloss; give valid_sets"
    )
    with pytest.raises(ValueError, match=expected):
        train(rounds, LightGBMReport(trial.reporter, "validation-auc"))
    assert rounds.begun == 1
    with pytest.raises(ValueError, match="but nothing at all; give valid_sets"):
        train(LightGBMReport(trial.reporter, "validation-auc"), valid_sets=None, valid_names=None)


def test_a_model_that_is_trained_on_goes_on_with_its_count() -> None:
    first = Trial("loss")
    model, _ = train(LightGBMReport(first.reporter, "validation-binary_logloss"), rounds=2)
    second = Trial("loss")
    train(LightGBMReport(second.reporter, "validation-binary_logloss"), rounds=2, init_model=model)
    assert (first.steps, second.steps) == ([1, 2], [3, 4])


def test_the_round_that_ends_training_early_is_reported() -> None:
    trial = Trial("loss")
    stopping = lightgbm.early_stopping(1, verbose=False)
    _, history = train(stopping, LightGBMReport(trial.reporter, "validation-binary_logloss"), rounds=500)
    assert len(trial.reports) == len(history["validation"]["binary_logloss"]) < 500
