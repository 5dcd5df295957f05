"""Lightning reports its validations and epochs, and ends when its trial does."""

import csv
import importlib
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning.pytorch", reason="Lightning is not installed")

import torch
from reporting import Trial
from torch.utils.data import DataLoader, TensorDataset

import lethe
from lethe.callbacks.lightning import LightningReport

LIGHTNING = "lightning.pytorch"


def loader(rows: int) -> Any:
    made = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 3, generator=made)
    return DataLoader(TensorDataset(x, x[:, :1] * 2), batch_size=8)


def module(package: str = LIGHTNING) -> Any:
    base: Any = importlib.import_module(package).LightningModule

    class Module(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)
            self.trained = self.sanity_checks = 0

        def loss(self, batch: Any) -> Any:
            return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])

        def training_step(self, batch: Any) -> Any:
            self.trained += 1
            loss = self.loss(batch)
            self.log("loss", loss, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch: Any) -> None:
            self.sanity_checks += self.trainer.sanity_checking
            self.log("val_loss", self.loss(batch))

        def on_validation_epoch_end(self) -> None:
            self.log("twice", 2 * self.trainer.callback_metrics["val_loss"])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.05)

    torch.manual_seed(1)
    return Module()


class Run:
    """A `fit` of 3 batches an epoch, with Lightning's own log of it."""

    def __init__(self, folder: Path, report: Any, package: str = LIGHTNING, **arguments: Any) -> None:
        loggers = importlib.import_module(f"{package}.loggers")
        self.logger = loggers.CSVLogger(folder, name="", version="", flush_logs_every_n_steps=1)
        quiet: dict[str, Any] = {
            "accelerator": "cpu",
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        }
        trainer: Any = importlib.import_module(package).Trainer
        self.trainer = trainer(logger=self.logger, callbacks=[report], **{**quiet, **arguments})
        self.module = module(package)

    def fit(self, validation: bool = True, **arguments: Any) -> "Run":
        self.trainer.fit(self.module, loader(24), loader(16) if validation else None, **arguments)
        return self

    def logged(self, name: str) -> list[float]:
        with open(Path(self.logger.log_dir) / "metrics.csv", encoding="utf-8") as lines:
            return [float(row[name]) for row in csv.DictReader(lines) if row.get(name)]


@pytest.mark.parametrize("package", [LIGHTNING, "pytorch_lightning"])
def test_validations_are_reported_as_lightning_logs_them(tmp_path: Path, package: str) -> None:
    pytest.importorskip(package)
    trial = Trial("error")
    run = Run(tmp_path, LightningReport(trial.reporter), package, max_epochs=3).fit()
    assert run.module.sanity_checks == 2
    assert trial.steps == [1, 2, 3]
    assert [values["error"] for values in trial.values] == pytest.approx(run.logged("val_loss"))
    assert [values["twice"] for values in trial.values] == pytest.approx(run.logged("twice"))
    # The training loss is that of the epoch before, if any, and not this validation's.
    assert all(set(values) == {"error", "twice"} for values in trial.values)


def test_epochs_are_reported_with_their_training_values(tmp_path: Path) -> None:
    trial = Trial("loss")
    run = Run(tmp_path, LightningReport(trial.reporter, at="epoch"), max_epochs=3).fit()
    assert trial.steps == [1, 2, 3]
    assert [values["loss"] for values in trial.values] == pytest.approx(run.logged("val_loss"))
    assert [values["train_loss"] for values in trial.values] == pytest.approx(run.logged("loss"))


def test_epochs_without_validation_are_reported(tmp_path: Path) -> None:
    trial = Trial("loss")
    run = Run(tmp_path, LightningReport(trial.reporter, "loss", at="epoch"), max_epochs=2).fit(False)
    assert trial.steps == [1, 2]
    assert trial.values == [{"loss": pytest.approx(value)} for value in run.logged("loss")]


def test_validations_within_an_epoch_are_counted(tmp_path: Path) -> None:
    trial = Trial("loss")
    run = Run(tmp_path, LightningReport(trial.reporter), max_epochs=2, val_check_interval=1).fit()
    assert trial.steps == [1, 2, 3, 4, 5, 6]
    assert [values["loss"] for values in trial.values] == pytest.approx(run.logged("val_loss"))


@pytest.mark.parametrize("package", [LIGHTNING, "pytorch_lightning"])
@pytest.mark.parametrize("at", ["validation", "epoch"])
def test_a_stopped_trial_ends_fit(tmp_path: Path, package: str, at: str) -> None:
    pytest.importorskip(package)
    trial = Trial("loss", stop=2)
    run = Run(tmp_path, LightningReport(trial.reporter, at=at), package, max_epochs=9)
    with pytest.raises(lethe.TrialStopped):
        run.fit()
    assert (trial.steps, run.module.trained) == ([1, 2], 6)


def test_a_metric_that_is_not_logged_is_said_after_the_first_validation(tmp_path: Path) -> None:
    run = Run(tmp_path, LightningReport(Trial("acc").reporter, "val_acc"), max_epochs=9)
    expected = r"'val_acc' is not reported, but twice, val_loss; log it in the module, self.log\('val_acc'"
    with pytest.raises(ValueError, match=expected):
        run.fit()
    assert run.module.trained == 3


def test_an_old_validation_is_no_report_of_a_later_epoch(tmp_path: Path) -> None:
    report = LightningReport(Trial("loss").reporter, at="epoch")
    run = Run(tmp_path, report, max_epochs=9, check_val_every_n_epoch=2)
    with pytest.raises(ValueError, match=r"'val_loss' is not reported, but loss; .* report at='validation'"):
        run.fit()


def test_without_validation_nothing_is_trained(tmp_path: Path) -> None:
    run = Run(tmp_path, LightningReport(Trial("loss").reporter), max_epochs=9)
    with pytest.raises(ValueError, match=r"fit has no validation; .* report at='epoch'"):
        run.fit(validation=False)
    assert run.module.trained == 0
    with pytest.raises(lethe.ConfigError, match="at must be 'validation' or 'epoch', not 'batch'"):
        LightningReport(Trial("loss").reporter, at="batch")


def test_validations_outside_of_fit_are_not_reported(tmp_path: Path) -> None:
    trial = Trial("loss")
    run = Run(tmp_path, LightningReport(trial.reporter), max_epochs=1)
    run.trainer.validate(run.module, loader(16), verbose=False)
    assert trial.reports == []
    run.fit()
    run.trainer.validate(run.module, loader(16), verbose=False)
    assert trial.steps == [1]
    assert math.isfinite(trial.values[0]["loss"])


@pytest.mark.parametrize("at", ["validation", "epoch"])
def test_fit_goes_on_from_lightnings_checkpoint_with_its_count(tmp_path: Path, at: str) -> None:
    run = Run(tmp_path, LightningReport(Trial("loss").reporter, at=at), max_epochs=2).fit()
    run.trainer.save_checkpoint(tmp_path / "saved.ckpt")
    trial = Trial("loss")
    again = Run(tmp_path, LightningReport(trial.reporter, at=at), max_epochs=4)
    again.fit(ckpt_path=tmp_path / "saved.ckpt")
    assert (trial.steps, again.module.trained) == ([3, 4], 6)
