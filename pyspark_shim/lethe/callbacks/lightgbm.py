"""LightGBM: `lightgbm.train`, `lightgbm.cv` and its scikit-learn estimators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lethe.callbacks.library import library
from lethe.callbacks.report import Report

if TYPE_CHECKING:
    from lethe.worker.reporter import Reporter

library("lightgbm", "lightgbm")


class LightGBMReport:
    """Reports after each boosting round:

        report = LightGBMReport(reporter, metric="valid_0-binary_logloss")
        lightgbm.train(hparams, rows, 100, valid_sets=[held_out], callbacks=[report])
        LGBMClassifier(**hparams).fit(x, y, eval_set=[held_out], callbacks=[report])

    metric: the data's name (`valid_names`, else "valid_0", …; "training" for the training rows), a dash and
        LightGBM's name of the metric. Of `lightgbm.cv` it is the mean of the folds; their standard deviation
        is reported with "-std" behind.
    every: rounds to a report.
    start: steps that are behind where the rounds are counted anew; with `init_model=` they go on.

    Raises ConfigError (a ValueError) for a metric that LightGBM has not evaluated.
    """

    def __init__(self, reporter: Reporter, metric: str, *, every: int = 1, start: int = 0) -> None:
        self._report = Report("LightGBMReport", reporter, metric, every=every, start=start)
        #: LightGBM's own: after its log (10) and record (20), before early stopping (30), which ends the
        #: training in the round that is to be reported.
        self.order, self.before_iteration = 25, False

    def __call__(self, env: Any) -> None:
        values: dict[str, Any] = {}
        # Tuples before LightGBM 4.7, then a class of the same order.
        for data, name, value, _, *spread in env.evaluation_result_list or ():
            values[f"{data}-{name}"] = value
            if spread:
                values[f"{data}-{name}-std"] = spread[0]
        self._report.send(env.iteration + 1, values, "give valid_sets or eval_set, and metric")
