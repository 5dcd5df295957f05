"""The page on data runs as it is written."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from pages import DOCS, elsewhere, run
from torch import nn

import lethe

PAGE = DOCS / "data.md"
__all__ = ["elsewhere"]
ROWS = 200


def flats() -> pa.Table:
    random = np.random.default_rng(0)
    area = random.uniform(20, 120, ROWS)
    return pa.table(
        {
            "id": np.arange(ROWS),
            "area": area,
            "rooms": pa.array([None if i % 10 == 0 else i % 4 + 1 for i in range(ROWS)], pa.int32()),
            "city": [("Oslo", "Rome", "Bern")[i % 3] for i in range(ROWS)],
            "pixels": pa.array(list(random.random((ROWS, 64), np.float32))),
            "price": area * 3 + random.normal(0, 1, ROWS),
            "sold": [("no", "yes")[i % 2] for i in range(ROWS)],
            "weight": np.ones(ROWS, np.float32),
        }
    )


def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 1), nn.Flatten(0))


@pytest.mark.usefixtures("elsewhere")
def test_the_code_of_the_page_runs(tmp_path: Path) -> None:
    (tmp_path / "flats").mkdir()
    table = flats()
    pq.write_table(
        table.drop_columns("rooms").append_column("rooms", table["rooms"].fill_null(1)), "flats/a.parquet"
    )
    scope: dict[str, Any] = {
        "__name__": "page",
        "lethe": lethe,
        "torch": torch,
        "flats": table,
        "strangers": pa.table({"area": [50.0, 60.0], "city": ["Rome", "Paris"]}),
        "train": lethe.Supervised(model=model, loss="mse", epochs=2),
        "search": lethe.Search(
            lethe.SearchSpace(lr=lethe.loguniform(1e-3, 1e-1)), trials=2, metric="loss", direction="min"
        ),
    }
    assert run(PAGE, scope) == 6
    assert scope["files"].train.to_arrow().num_rows == ROWS
    assert scope["features"].shape == (round(0.2 * ROWS), 3)
    assert scope["by_name"]["photo"].shape == (ROWS, 1, 8, 8)
    assert scope["sold"].dtype == torch.int64
    assert scope["big"].features == ("feet", "city")
    assert scope["needs"] == scope["ready"].preprocessing() == scope["result"].preprocessing
    assert scope["inputs"][:, 1].tolist() == [2.0, -1.0]


def test_the_page_names_every_transform_and_way_to_read() -> None:
    text = PAGE.read_text()
    for owner in (lethe.Dataset, lethe.Part):
        for name in (name for name in dir(owner) if not name.startswith("_")):
            if callable(getattr(owner, name)) and name not in ("on", "session", "stored", "label_type"):
                assert re.search(rf"\b{name}\(", text), name
