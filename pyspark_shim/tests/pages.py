"""What the tests of the documentation's pages share: their code, and the digits that it runs on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

import lethe

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own, and no process left."""
    monkeypatch.chdir(tmp_path)
    yield
    lethe.shutdown()


def digits() -> lethe.Dataset:
    images, labels = load_digits(return_X_y=True)
    pixels = pa.array(list((images / 16).astype("float32")), pa.list_(pa.float32()))
    table = pa.table({"pixels": pixels, "digit": pa.array(labels, pa.int64())})
    return lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(0.2, seed=7)


def run(page: Path, scope: dict[str, Any]) -> int:
    """Runs a page's Python, block after block, in one scope; how many blocks there are."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    for block in blocks:
        exec(block, scope)
    return len(blocks)
