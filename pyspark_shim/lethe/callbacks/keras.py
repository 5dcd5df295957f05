"""Keras: 3 with any backend, and 2, also as `tf.keras`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lethe.callbacks.library import library
from lethe.callbacks.report import Report

if TYPE_CHECKING:
    from lethe.worker.reporter import Reporter

# Where this variable is set, `tf.keras` is Keras 2, which is a package of its own then.
_legacy = os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("1", "true")
_keras = "tf_keras" if _legacy else "keras"
_Callback: Any = library(_keras, _keras).callbacks.Callback


class KerasEpochEnd(_Callback):  # type: ignore[misc]
    """Reports after each epoch, with its validation:

        model.fit(x, y, validation_data=held_out, epochs=9, callbacks=[KerasEpochEnd(reporter)])

    metric: a name in Keras's logs: "val_accuracy", "val_loss", "loss", …
    every: epochs to a report; with `fit(validation_freq=2)` give 2 here too.
    start: steps that are behind where `fit` counts anew; with `fit(initial_epoch=…)` it goes on by itself.

    Raises ConfigError (a ValueError) for a metric that Keras does not have by then.
    """

    def __init__(
        self, reporter: Reporter, metric: str = "val_accuracy", *, every: int = 1, start: int = 0
    ) -> None:
        super().__init__()
        self._report = Report("KerasEpochEnd", reporter, metric, every=every, start=start)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._report.metric.startswith("val_"):
            remedy = (
                "give fit its validation_data, compile the model with this metric, and where "
                "fit(validation_freq=n) leaves epochs out, KerasEpochEnd(every=n)"
            )
        else:
            remedy = "take one of these, or compile the model with this metric"
        self._report.send(epoch + 1, logs or {}, remedy)


class KerasBatchEnd(_Callback):  # type: ignore[misc]
    """Reports after each batch of training rows:

        model.fit(x, y, callbacks=[KerasBatchEnd(reporter, every=100)])

    Keras's values are means over the epoch so far.

    metric: a name in Keras's logs: "loss", "accuracy", …
    every: batches to a report.
    start: steps that are behind where `fit` counts anew. With `fit(initial_epoch=…)` it goes on by itself if
        Keras knows from the beginning how many batches an epoch has.

    Raises ConfigError (a ValueError) for a metric that Keras does not have by then.
    """

    def __init__(self, reporter: Reporter, metric: str = "loss", *, every: int = 1, start: int = 0) -> None:
        super().__init__()
        self._report = Report("KerasBatchEnd", reporter, metric, every=every, start=start)
        self._count = self._before = 0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._count = self._before = 0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        steps = (self.params or {}).get("steps")
        self._before = epoch * steps if steps else self._count

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        # With steps_per_execution not every batch is seen.
        self._count = self._before + batch + 1
        remedy = "take one of these, or compile the model with this metric; val_… are there at an epoch's end"
        self._report.send(self._count, logs or {}, remedy)
