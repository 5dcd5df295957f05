"""The page on searching runs as it is written."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from torch import nn

import lethe

PAGE = Path(__file__).parents[2] / "docs" / "searching.md"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    lethe.shutdown()


def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(hparams["layers"]):
        layers += [nn.Linear(inputs, hparams["width"]), nn.ReLU()]
        inputs = hparams["width"]
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


def test_the_code_of_the_page_runs() -> None:
    images, labels = load_digits(return_X_y=True)
    pixels = pa.array(list((images / 16).astype("float32")), pa.list_(pa.float32()))
    table = pa.table({"pixels": pixels, "digit": pa.array(labels, pa.int64())})
    scope: dict[str, Any] = {
        "__name__": "page",
        "lethe": lethe,
        "train": lethe.Supervised(model=model, loss="cross_entropy", metrics=["accuracy"], epochs=3),
        "digits": lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(0.2, seed=7),
    }
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for block in blocks:
        exec(block, scope)
    result = scope["result"]
    assert len(blocks) == 5
    assert len(result.trials) == 12
    assert result.trials["lr"][:2].tolist() == [3e-3, 0.1]
    assert result.best.value > 0.8


def test_the_page_names_every_domain_optimizer_and_rule() -> None:
    text = PAGE.read_text()
    for name in (
        "uniform",
        "loguniform",
        "integer",
        "choice",
        "ordinal",
        "constraint",
        "optuna",
        "Optimizer",
    ):
        assert f"lethe.{name}" in text or f"`{name}(" in text
    for found in (lethe.Grid, lethe.TPE, lethe.GP, lethe.CMAES, lethe.NSGA2):
        assert f"lethe.{found.__name__}(" in text
    for rule in ("ASHA", "Hyperband", "BOHB", "Median", "Threshold", "Patience", "PBT"):
        assert f"`{rule}(" in text
        assert hasattr(lethe, rule)
