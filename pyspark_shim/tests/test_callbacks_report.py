"""What the callbacks of all libraries have in common, and what is said where a library is missing."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from reporting import Trial

import lethe
from lethe.callbacks.report import Report, numbers


def test_the_metric_goes_by_the_experiments_name_and_all_else_by_its_own() -> None:
    trial = Trial("loss")
    Report("R", trial.reporter, "val_loss").send(1, {"val_loss": 0.2, "loss": 0.1, "f1": 0.9}, "")
    assert trial.reports == [(1, {"loss": 0.2, "train_loss": 0.1, "f1": 0.9})]


def test_a_training_value_that_is_there_is_not_replaced() -> None:
    trial = Trial("loss")
    Report("R", trial.reporter, "val_loss").send(1, {"val_loss": 0.2, "loss": 0.1, "train_loss": 0.3}, "")
    assert trial.values == [{"loss": 0.2, "train_loss": 0.3}]


def test_only_numbers_are_reported() -> None:
    found = numbers(
        {
            "int": 1,
            "numpy": np.float32(0.5),
            "tensor": torch.tensor([2.0]),
            "nan": math.nan,
            "several": torch.ones(2),
            "array": np.ones(3),
            "text": "0.5",
            "none": None,
            "huge": 10**400,
        }
    )
    assert math.isnan(found.pop("nan"))
    assert found == {"int": 1.0, "numpy": 0.5, "tensor": 2.0}


def test_a_metric_that_is_missing_or_no_number_is_an_error_with_the_others_names() -> None:
    trial = Trial("loss")
    report = Report("KerasEpochEnd", trial.reporter, "val_loss")
    expected = r"KerasEpochEnd: metric 'val_loss' is not reported, but acc, loss; add validation"
    with pytest.raises(ValueError, match=expected):
        report.send(1, {"loss": 1.0, "acc": 0.5, "val_loss": "high"}, "add validation")
    with pytest.raises(lethe.ConfigError, match="but nothing at all; add"):
        report.send(2, {}, "add validation")
    assert trial.reports == []


def test_steps_count_reports_and_go_on_in_another_fit() -> None:
    trial = Trial("m")
    report = Report("R", trial.reporter, "m", every=2, start=10)
    for count in [1, 2, 3, 1, 2, 3, 4, 1]:
        report.send(count, {"m": count}, "")
    assert trial.reports == [(11, {"m": 2}), (12, {"m": 1}), (13, {"m": 3}), (14, {"m": 1})]


def test_a_count_that_goes_on_from_elsewhere_keeps_its_place() -> None:
    trial = Trial("m")
    report = Report("R", trial.reporter, "m", every=2)
    for count in range(7, 11):
        report.send(count, {"m": count}, "")
    assert trial.reports == [(4, {"m": 8}), (5, {"m": 10})]


def test_a_count_of_several_at_once_is_not_missed() -> None:
    trial = Trial("m")
    report = Report("R", trial.reporter, "m", every=4)
    for count in range(3, 19, 3):
        report.send(count, {"m": count}, "")
    assert trial.reports == [(1, {"m": 6}), (2, {"m": 9}), (3, {"m": 12}), (4, {"m": 18})]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"metric": ""}, "R: metric must be a name, not ''"),
        ({"every": 0}, "R: every must be a whole number from 1"),
        ({"start": -1}, "R: start must be a whole number from 0"),
    ],
)
def test_wrong_arguments_are_refused(changes: dict[str, object], problem: str) -> None:
    arguments: dict[str, object] = {"metric": "m", **changes}
    with pytest.raises(lethe.ConfigError, match=problem):
        Report("R", Trial("m").reporter, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("module", "absent", "package"),
    [
        ("keras", ["keras"], "keras"),
        ("lightning", ["lightning", "pytorch_lightning"], "lightning"),
        ("transformers", ["transformers"], "transformers"),
        ("xgboost", ["xgboost"], "xgboost"),
        ("lightgbm", ["lightgbm"], "lightgbm"),
    ],
)
def test_a_missing_library_is_named_with_its_package(module: str, absent: list[str], package: str) -> None:
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {absent}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import lethe\n"
        "try:\n"
        f"    import lethe.callbacks.{module}\n"
        "except lethe.InstallError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(f"is not installed here; run: pip install {package}")
