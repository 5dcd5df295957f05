"""The page on contexts runs as it is written."""

import re
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from torch import nn

import lethe

PAGE = Path(__file__).parents[2] / "docs" / "contexts.md"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    lethe.shutdown()


def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
    layers = OrderedDict(
        hidden=nn.Linear(inputs, 32),
        activation=nn.ReLU(),
        dropout=nn.Dropout(hparams.get("dropout", 0.1)),
        out=nn.Linear(32, 10),
    )
    return nn.Sequential(layers)


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
    pytest.importorskip("matplotlib", reason="the chart needs matplotlib")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for block in blocks:
        exec(block, scope)
    assert len(blocks) == 3
    assert scope["result"].trials["state"].tolist() == ["finished"]
    assert len(scope["ablation"].trials) == 6
    assert scope["best"].best.hparams == scope["search"].best.hparams
    assert scope["found"].best.value > 0.5
    assert {row.name for row in scope["ablation"].ablation.rows} == {"base", "layer dropout", "dropout=0.0"}
