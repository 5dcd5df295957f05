"""XGBoost: `xgboost.train`, `xgboost.cv` and its scikit-learn estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lethe.callbacks.library import library
from lethe.callbacks.report import Report

if TYPE_CHECKING:
    from lethe.worker.reporter import Reporter


_Callback: Any = library("xgboost", "xgboost").callback.TrainingCallback


class XGBoostReport(_Callback):  # type: ignore[misc]
    """Reports after each boosting round:

        report = XGBoostReport(reporter, metric="validation-logloss")
        xgboost.train(hparams, rows, 100, evals=[(held_out, "validation")], callbacks=[report])
        XGBClassifier(**hparams, callbacks=[XGBoostReport(reporter, "validation_0-logloss")])

    metric: the data's name in `evals`, a dash and XGBoost's name of the metric. Of `xgboost.cv` it is the
        mean of the folds; their standard deviation is reported with "-std" behind.
    every: rounds to a report.
    start: steps that are behind where the rounds are counted anew; with `xgb_model=` they go on.

    A `callback.EarlyStopping` that comes before it in the list leaves the last round out.

    Raises ConfigError (a ValueError) for a metric that XGBoost has not evaluated.
    """

    def __init__(self, reporter: Reporter, metric: str, *, every: int = 1, start: int = 0) -> None:
        super().__init__()
        self._report = Report("XGBoostReport", reporter, metric, every=every, start=start)
        self._before = 0

    def before_training(self, model: Any) -> Any:
        # XGBoost counts from 0 also where a model is trained on. Folds of `cv` are never.
        self._before = model.num_boosted_rounds() if hasattr(model, "num_boosted_rounds") else 0
        return model

    def after_iteration(
        self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Sequence[Any]]]
    ) -> bool:
        values: dict[str, Any] = {}
        for data, metrics in evals_log.items():
            for name, history in metrics.items():
                last = history[-1]
                if isinstance(last, tuple):
                    values[f"{data}-{name}"], values[f"{data}-{name}-std"] = last
                else:
                    values[f"{data}-{name}"] = last
        self._report.send(
            self._before + epoch + 1, values, "give evals=[(rows, name)] or eval_set, and eval_metric"
        )
        # It does not end the training as early stopping does.
        return False
