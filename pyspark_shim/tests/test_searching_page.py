"""The page on searching runs as it is written."""

from pathlib import Path
from typing import Any

import pytest
from pages import DOCS, digits, elsewhere, run
from torch import nn

import lethe

PAGE = DOCS / "searching.md"
__all__ = ["elsewhere"]
pytestmark = pytest.mark.usefixtures("elsewhere")


def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(hparams["layers"]):
        layers += [nn.Linear(inputs, hparams["width"]), nn.ReLU()]
        inputs = hparams["width"]
    return nn.Sequential(*layers, nn.Linear(inputs, 10))


def test_the_code_of_the_page_runs() -> None:
    scope: dict[str, Any] = {
        "__name__": "page",
        "lethe": lethe,
        "train": lethe.Supervised(model=model, loss="cross_entropy", metrics=["accuracy"], epochs=3),
        "digits": digits(),
    }
    assert run(PAGE, scope) == 6
    result = scope["result"]
    assert len(result.trials) == 12
    assert result.trials["lr"][:2].tolist() == [3e-3, 0.1]
    assert result.best.value > 0.8
    assert Path("slots.png").stat().st_size > 10_000


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
