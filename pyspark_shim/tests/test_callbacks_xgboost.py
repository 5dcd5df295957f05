"""XGBoost reports its rounds, and ends when its trial does."""

from typing import Any

import pytest

xgboost = pytest.importorskip("xgboost", reason="XGBoost is not installed")

import numpy as np  # noqa: E402
from reporting import Trial  # noqa: E402

import lethe  # noqa: E402
from lethe.callbacks.xgboost import XGBoostReport  # noqa: E402

RANDOM = np.random.default_rng(1)
X = RANDOM.normal(size=(200, 4))
Y = (X[:, 0] + 0.5 * RANDOM.normal(size=200) > 0).astype(int)
ROWS, HELD_OUT = xgboost.DMatrix(X[:150], Y[:150]), xgboost.DMatrix(X[150:], Y[150:])
HPARAMS = {"objective": "binary:logistic", "eval_metric": ["logloss", "error"], "nthread": 1, "max_depth": 2}


class Rounds(xgboost.callback.TrainingCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.begun = 0

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        self.begun += 1
        return False


def train(*callbacks: Any, rounds: int = 4, **arguments: Any) -> tuple[Any, Any]:
    history: dict[str, Any] = {}
    evals = [(ROWS, "train"), (HELD_OUT, "validation")]
    arguments = {"evals": evals, "evals_result": history, "verbose_eval": False, **arguments}
    model = xgboost.train(HPARAMS, ROWS, rounds, callbacks=list(callbacks), **arguments)
    return model, history


def test_rounds_are_reported_as_in_the_history() -> None:
    trial = Trial("loss")
    _, history = train(XGBoostReport(trial.reporter, "validation-logloss"))
    assert trial.steps == [1, 2, 3, 4]
    for place, values in enumerate(trial.values):
        assert values == {
            "loss": history["validation"]["logloss"][place],
            "validation-error": history["validation"]["error"][place],
            "train-logloss": history["train"]["logloss"][place],
            "train-error": history["train"]["error"][place],
        }


def test_the_estimators_report_too() -> None:
    trial = Trial("loss")
    report = XGBoostReport(trial.reporter, "validation_0-logloss", every=2)
    model = xgboost.XGBClassifier(n_estimators=4, eval_metric="logloss", n_jobs=1, callbacks=[report])
    model.fit(X[:150], Y[:150], eval_set=[(X[150:], Y[150:])], verbose=False)
    history = model.evals_result()["validation_0"]["logloss"]
    assert trial.reports == [(1, {"loss": history[1]}), (2, {"loss": history[3]})]


def test_cross_validation_reports_means_and_deviations() -> None:
    trial = Trial("loss")
    report = XGBoostReport(trial.reporter, "test-logloss")
    table = xgboost.cv(HPARAMS, ROWS, 3, nfold=3, seed=1, callbacks=[report])
    assert [values["loss"] for values in trial.values] == list(table["test-logloss-mean"])
    assert [values["test-logloss-std"] for values in trial.values] == list(table["test-logloss-std"])


def test_a_stopped_trial_ends_the_training() -> None:
    trial, rounds = Trial("loss", stop=2), Rounds()
    with pytest.raises(lethe.TrialStopped):
        train(rounds, XGBoostReport(trial.reporter, "validation-logloss"))
    assert (trial.steps, rounds.begun) == ([1, 2], 2)


def test_a_metric_that_is_not_evaluated_is_said_after_the_first_round() -> None:
    trial, rounds = Trial("auc"), Rounds()
    expected = (
        "'validation-auc' is not reported, but train-error, train-logloss, validation-error, "
        "validation-logloss; give evals="
    )
    with pytest.raises(ValueError, match=expected):
        train(rounds, XGBoostReport(trial.reporter, "validation-auc"))
    assert rounds.begun == 1
    with pytest.raises(ValueError, match="but nothing at all; give evals="):
        train(XGBoostReport(trial.reporter, "validation-auc"), evals=[])


def test_a_model_that_is_trained_on_goes_on_with_its_count() -> None:
    first = Trial("loss")
    model, _ = train(XGBoostReport(first.reporter, "validation-logloss"), rounds=2)
    second = Trial("loss")
    train(XGBoostReport(second.reporter, "validation-logloss"), rounds=2, xgb_model=model)
    assert (first.steps, second.steps) == ([1, 2], [3, 4])


def test_the_round_that_ends_training_early_is_reported() -> None:
    trial = Trial("loss")
    report = XGBoostReport(trial.reporter, "validation-logloss")
    _, history = train(report, rounds=500, early_stopping_rounds=1)
    assert len(trial.reports) == len(history["validation"]["error"]) < 500
