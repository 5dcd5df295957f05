"""The page on models runs as it is written."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pages import DOCS, elsewhere, run
from saving import rows
from torch import nn

import lethe
from lethe.saved import manifest
from lethe.saved.signature import TASKS

PAGE = DOCS / "models.md"
__all__ = ["elsewhere"]


def make_model(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.usefixtures("elsewhere")
def test_the_code_of_the_page_runs() -> None:
    table = rows(60)
    sold = pa.array(np.where(np.array(table["area"]) > 50, "yes", "no"))
    flats = lethe.Dataset.from_arrow(table.append_column("sold", sold), ["area", "rooms", "city"], "sold")
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-3, 1e-1))
    scope: dict[str, Any] = {
        "lethe": lethe,
        "flats": flats.normalize("area").split(0.2, seed=1),
        "train": lethe.Supervised(model=make_model, loss="cross_entropy", metrics=["accuracy"], epochs=2),
        "search": lethe.Search(space, trials=2, metric="accuracy", direction="max"),
        "strangers": rows().to_pandas(),
        "make_model": make_model,
    }
    assert run(PAGE, scope) == 3
    model, again = scope["model"], scope["again"]
    assert {name: str(kind) for name, kind in model.columns.items()} == {
        "area": "double",
        "rooms": "int32",
        "city": "string",
    }
    assert scope["answers"]["prediction"].isin(["yes", "no"]).all()
    assert scope["chances"].columns[-2:].tolist() == ["sold", "probabilities"]
    assert again.predict(scope["strangers"])["prediction"].equals(scope["answers"]["prediction"])
    assert isinstance(again.module(), nn.Sequential)


def test_the_page_names_every_file_and_task() -> None:
    text = Path(PAGE).read_text()
    for name in [*manifest.FILES, manifest.MANIFEST]:
        assert f"| `{name}` |" in text
    for task in TASKS:
        assert f'| `"{task}"` |' in text
