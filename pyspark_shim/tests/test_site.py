"""The site lacks nothing: its pages' code is run somewhere, and its reference has every public name."""

import re
from pathlib import Path

from pages import DOCS, blocks

import lethe
import lethe.callbacks
import lethe.maggy

ROOT = DOCS.parent
REFERENCE = "\n".join(page.read_text() for page in sorted((DOCS / "reference").glob("*.md")))


def test_every_page_with_python_is_run_by_a_test() -> None:
    tests = [*(ROOT / "pyspark_shim" / "tests").glob("*.py"), *(ROOT / "integration-tests").rglob("*.py")]
    text = "\n".join(test.read_text() for test in tests if test != Path(__file__))
    for page in DOCS.glob("*.md"):
        assert not blocks(page) or f'"{page.name}"' in text, f"no test runs the code of {page.name}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.rglob("*.md"):
        assert f": {page.relative_to(DOCS).as_posix()}\n" in navigation


def test_the_reference_has_every_public_name() -> None:
    names = [f"lethe.{name}" for name in (*lethe.__all__, "open") if name != "__version__"]
    names += [f"lethe.maggy.{name}" for name in lethe.maggy.__all__]
    for file in Path(lethe.callbacks.__path__[0]).glob("*.py"):
        found = re.findall(r"^class (\w+(?:Report|End))\b", file.read_text(), re.MULTILINE)
        names += [f"lethe.callbacks.{file.stem}.{name}" for name in found]
    for name in names:
        assert f"::: {name}\n" in REFERENCE, f"no page of docs/reference has {name}"
