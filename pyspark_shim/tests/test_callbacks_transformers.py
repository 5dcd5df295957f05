"""Hugging Face's Trainer reports its evaluations and logs, and ends when its trial does."""

from pathlib import Path
from typing import Any

import pytest

transformers = pytest.importorskip(
    "transformers", reason="Transformers is not installed (make test-places has it)"
)
pytest.importorskip("accelerate", reason="Accelerate, which Trainer needs, is not installed")

import torch  # noqa: E402
from reporting import Trial  # noqa: E402

import lethe  # noqa: E402
from lethe.callbacks.transformers import TransformersReport  # noqa: E402

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(1))
ROWS = [{"x": row, "labels": (row[0] > 0).long()} for row in X]


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)
        self.trained = 0

    def forward(self, x: Any, labels: Any) -> dict[str, Any]:
        self.trained += self.training
        logits = self.layer(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}


def trainer(folder: Path, report: Any, held_out: Any = ROWS[24:], **arguments: Any) -> Any:
    """Of 3 batches an epoch."""
    given = {
        "num_train_epochs": 3,
        "eval_strategy": "no" if held_out is None else "epoch",
        "logging_strategy": "epoch",
        "save_strategy": "no",
        "per_device_train_batch_size": 8,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "label_names": ["labels"],
        **arguments,
    }
    torch.manual_seed(1)
    return transformers.Trainer(
        Model(),
        transformers.TrainingArguments(str(folder), **given),
        train_dataset=ROWS[:24],
        eval_dataset=held_out,
        compute_metrics=accuracy,
        callbacks=[report],
    )


def history(made: Any, name: str) -> list[float]:
    return [logged[name] for logged in made.state.log_history if name in logged]


def test_evaluations_are_reported_as_in_trainers_log(tmp_path: Path) -> None:
    trial = Trial("accuracy")
    made = trainer(tmp_path, TransformersReport(trial.reporter, "eval_accuracy"))
    made.train()
    assert trial.steps == [1, 2, 3]
    assert [values["accuracy"] for values in trial.values] == history(made, "eval_accuracy")
    assert [values["eval_loss"] for values in trial.values] == history(made, "eval_loss")
    assert [values["loss"] for values in trial.values] == history(made, "loss")
    made.evaluate()
    assert trial.steps == [1, 2, 3]


def test_logs_are_reported_and_counted(tmp_path: Path) -> None:
    trial = Trial("cost")
    report = TransformersReport(trial.reporter, "loss")
    made = trainer(tmp_path, report, None, logging_strategy="steps", logging_steps=2)
    made.train()
    assert trial.steps == [1, 2, 3, 4]
    assert [values["cost"] for values in trial.values] == history(made, "loss")


def test_several_datasets_are_one_report(tmp_path: Path) -> None:
    trial = Trial("loss")
    held_out = {"near": ROWS[24:28], "far": ROWS[28:]}
    made = trainer(tmp_path, TransformersReport(trial.reporter, "eval_near_loss"), held_out)
    made.train()
    assert trial.steps == [1, 2, 3]
    assert [values["loss"] for values in trial.values] == history(made, "eval_near_loss")
    assert [values["eval_far_loss"] for values in trial.values] == history(made, "eval_far_loss")


@pytest.mark.parametrize("metric", ["eval_loss", "loss"])
def test_a_stopped_trial_ends_the_training(tmp_path: Path, metric: str) -> None:
    trial = Trial("loss", stop=2)
    made = trainer(tmp_path, TransformersReport(trial.reporter, metric), num_train_epochs=9)
    with pytest.raises(lethe.TrialStopped):
        made.train()
    assert (trial.steps, made.model.trained) == ([1, 2], 6)


def test_a_metric_that_is_not_evaluated_is_said_after_the_first_evaluation(tmp_path: Path) -> None:
    made = trainer(tmp_path, TransformersReport(Trial("f1").reporter, "eval_f1"))
    with pytest.raises(
        ValueError, match=r"'eval_f1' is not reported, but epoch, eval_accuracy, .*compute_metr"
    ):
        made.train()
    assert made.model.trained == 3


@pytest.mark.parametrize("metric", ["eval_loss", "cost"])
def test_a_metric_that_is_never_logged_is_said_at_the_end(tmp_path: Path, metric: str) -> None:
    made = trainer(tmp_path, TransformersReport(Trial("loss").reporter, metric), None)
    with pytest.raises(
        ValueError, match=rf"'{metric}' is not reported, but epoch, .*loss.*with an eval_dataset"
    ):
        made.train()


def test_training_goes_on_from_trainers_checkpoint_with_its_count(tmp_path: Path) -> None:
    report = TransformersReport(Trial("loss").reporter)
    trainer(tmp_path, report, num_train_epochs=2, save_strategy="epoch").train()
    trial = Trial("loss")
    made = trainer(tmp_path, TransformersReport(trial.reporter), num_train_epochs=4)
    made.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert (trial.steps, made.model.trained) == ([3, 4], 6)


def test_another_training_goes_on_with_the_count(tmp_path: Path) -> None:
    trial = Trial("loss")
    made = trainer(tmp_path, TransformersReport(trial.reporter), num_train_epochs=2)
    made.train()
    made.train()
    assert trial.steps == [1, 2, 3, 4]
