"""The page on contexts runs as it is written."""

from collections import OrderedDict
from typing import Any

import pytest
from pages import DOCS, digits, elsewhere, run
from torch import nn

import lethe

PAGE = DOCS / "contexts.md"
__all__ = ["elsewhere"]
pytestmark = pytest.mark.usefixtures("elsewhere")


def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
    layers = OrderedDict(
        hidden=nn.Linear(inputs, 32),
        activation=nn.ReLU(),
        dropout=nn.Dropout(hparams.get("dropout", 0.1)),
        out=nn.Linear(32, 10),
    )
    return nn.Sequential(layers)


def test_the_code_of_the_page_runs() -> None:
    scope: dict[str, Any] = {
        "__name__": "page",
        "lethe": lethe,
        "train": lethe.Supervised(model=model, loss="cross_entropy", metrics=["accuracy"], epochs=3),
        "digits": digits(),
    }
    pytest.importorskip("matplotlib", reason="the chart needs matplotlib")
    assert run(PAGE, scope) == 3
    assert scope["result"].trials["state"].tolist() == ["finished"]
    assert len(scope["ablation"].trials) == 6
    assert scope["best"].best.hparams == scope["search"].best.hparams
    assert scope["found"].best.value > 0.5
    assert {row.name for row in scope["ablation"].ablation.rows} == {"base", "layer dropout", "dropout=0.0"}
