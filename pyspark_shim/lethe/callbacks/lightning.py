"""Lightning: `lightning.pytorch`, or `pytorch_lightning` where only this is installed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lethe.callbacks.library import library
from lethe.callbacks.report import Report
from lethe.errors import ConfigError, InstallError

if TYPE_CHECKING:
    from lethe.worker.reporter import Reporter


def _lightning() -> Any:
    """Of the two names, which `lightning` installs both, the one that is in use."""
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        return sys.modules["pytorch_lightning"]
    try:
        return library("lightning.pytorch", "lightning")
    except InstallError as error:
        try:
            return library("pytorch_lightning", "lightning")
        except InstallError:
            raise error from None


_Callback: Any = _lightning().Callback


class LightningReport(_Callback):  # type: ignore[misc]
    """Reports after each validation within `fit`, but the sanity check, or after each epoch:

        report = LightningReport(reporter, metric="val_accuracy")
        lightning.Trainer(callbacks=[report], max_epochs=9).fit(module, rows, held_out)

    metric: a name that the module gives to `self.log`.
    at: "validation", with what the validation has logged; or "epoch", the end of a training epoch, with what
        the epoch has logged, its validations too, but what is logged in the module's own
        `on_train_epoch_end`, which comes later.
    start: steps that are behind where `fit` counts anew; with `fit(ckpt_path=…)` it goes on by itself.

    Processes that Lightning itself starts (`strategy="ddp_spawn"` or "ddp") have no reporter: take one device
    for a trial.

    Raises ConfigError (a ValueError) for a metric that is not logged by then, or if there is no validation.
    """

    def __init__(
        self,
        reporter: Reporter,
        metric: str = "val_loss",
        *,
        at: str = "validation",
        start: int = 0,
    ) -> None:
        super().__init__()
        if at not in ("validation", "epoch"):
            raise ConfigError(f"LightningReport: at must be 'validation' or 'epoch', not {at!r}")
        self._report = Report("LightningReport", reporter, metric, start=start)
        self._at, self._validations = at, 0
        #: What was logged before the validation or epoch: Lightning keeps all values ever logged.
        self._old: dict[str, Any] = {}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if self._at == "validation" and not trainer.enable_validation:
            raise ConfigError(
                "LightningReport: fit has no validation; give it a validation loader and the module a "
                "validation_step, or report at='epoch'"
            )

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if self._at == "epoch":
            self._old = dict(trainer.callback_metrics)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._at == "epoch":
            self._send(trainer, trainer.current_epoch + 1, "on_epoch=True, or report at='validation'")

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self._counts(trainer):
            self._old = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self._counts(trainer):
            self._validations += 1
            self._send(trainer, self._validations, "in its validation_step")

    def state_dict(self) -> dict[str, Any]:
        """Lightning saves it with the module."""
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]

    def _counts(self, trainer: Any) -> bool:
        return self._at == "validation" and trainer.state.fn == "fit" and not trainer.sanity_checking

    def _send(self, trainer: Any, count: int, where: str) -> None:
        new = {
            name: value
            for name, value in trainer.callback_metrics.items()
            # Each time that it is logged it is another tensor.
            if value is not self._old.get(name)
        }
        self._report.send(count, new, f"log it in the module, self.log({self._report.metric!r}, …), {where}")
