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
FENCE = re.compile(r'^```python(?: title="(?P<side>.*?)")?\n(?P<code>.*?)^```$', re.DOTALL | re.MULTILINE)


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


def sides(page: Path) -> list[str]:
    """The titles of a page's Python: the same program in other words, one for each."""
    found = (block["side"] for block in FENCE.finditer(page.read_text()))
    return list(dict.fromkeys(side for side in found if side is not None))


def blocks(page: Path, side: str | None = None) -> list[str]:
    """A page's Python, block after block; of one side that which has its title, or none."""
    return [block["code"] for block in FENCE.finditer(page.read_text()) if block["side"] in (None, side)]


def run(page: Path, scope: dict[str, Any], side: str | None = None) -> int:
    """Runs a page's Python in one scope; how many blocks there are."""
    found = blocks(page, side)
    for block in found:
        exec(compile(block, str(page), "exec"), scope)
    return len(found)
