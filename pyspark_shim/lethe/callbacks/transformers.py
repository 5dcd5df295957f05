"""Hugging Face's Transformers: its `Trainer`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lethe.callbacks.library import library
from lethe.callbacks.report import Report

if TYPE_CHECKING:
    from lethe.worker.reporter import Reporter

_Callback: Any = library("transformers", "transformers").TrainerCallback

_REMEDY = (
    "eval_loss and what compute_metrics gives, as eval_accuracy, are there with an eval_dataset and "
    "TrainingArguments(eval_strategy='epoch'); loss with logging_strategy='epoch'"
)


class TransformersReport(_Callback):  # type: ignore[misc]
    """Reports what `Trainer.train` logs, its evaluations too, whenever the metric is logged:

        arguments = TrainingArguments(…, eval_strategy="epoch")
        report = TransformersReport(reporter, metric="eval_accuracy")
        Trainer(model, arguments, …, compute_metrics=accuracy, callbacks=[report]).train()

    Values that are logged at one step of the training are one report, which is made before the next step
    begins; evaluations of several datasets are one too. An evaluation outside of `train` is none: return its
    value from the function.

    metric: a name in Trainer's log: "eval_loss", "eval_accuracy", "loss", …
    start: steps that are behind where `train` counts anew; with `train(resume_from_checkpoint=…)` it goes on
        by itself.

    Raises ConfigError (a ValueError) if an evaluation is without a metric that begins with "eval_", and at
    the end of the training if any other has never been logged.
    """

    def __init__(self, reporter: Reporter, metric: str = "eval_loss", *, start: int = 0) -> None:
        self._report = Report("TransformersReport", reporter, metric, start=start)
        self._training = self._evaluated = False
        #: What has been logged since the last step, and since the training began.
        self._values: dict[str, Any] = {}
        self._all: dict[str, Any] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **further: Any) -> None:
        self._training, self._evaluated = True, False
        self._values, self._all = {}, {}

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **further: Any
    ) -> None:
        if self._training:
            self._values.update(logs or {})

    def on_evaluate(self, args: Any, state: Any, control: Any, **further: Any) -> None:
        self._evaluated = True

    def on_step_begin(self, args: Any, state: Any, control: Any, **further: Any) -> None:
        self._flush(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **further: Any) -> None:
        self._training = False
        self._flush(state)
        if self._report.metric not in self._all:
            raise self._report.absent(self._all, _REMEDY)

    def _flush(self, state: Any) -> None:
        values, evaluated = self._values, self._evaluated
        self._values, self._evaluated = {}, False
        self._all.update(values)
        metric = self._report.metric
        if metric in values or (evaluated and metric.startswith("eval_")):
            # The log is saved in Trainer's checkpoints, and is whole where it goes on from one.
            steps = {logged["step"] for logged in state.log_history if metric in logged}
            self._report.send(max(1, len(steps)), values, _REMEDY)
