"""The pages for those who come from elsewhere run as they are written, on both sides."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from pages import DOCS, blocks, elsewhere, run, sides

__all__ = ["elsewhere"]

#: By the title of a page's blocks: what must be installed to run them.
PACKAGES = {"Lethe": "lethe", "Optuna": "optuna", "Ray Tune": "ray", "Hyperopt": "hyperopt"}
PAGES = [DOCS / "from-hyperopt.md", DOCS / "from-optuna.md", DOCS / "from-ray-tune.md"]
SIDES = [(page, side) for page in PAGES for side in sides(page)]


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize(("page", "side"), SIDES, ids=[f"{page.stem}-{side}" for page, side in SIDES])
def test_a_side_runs_where_its_package_is_installed(page: Path, side: str) -> None:
    for block in blocks(page, side):
        compile(block, str(page), "exec")
    package = PACKAGES[side]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"compiled, not run: {package} is not installed (make test-places has it)")
    scope: dict[str, Any] = {"__name__": "page"}
    assert run(page, scope, side) > 1


def test_each_page_has_two_sides() -> None:
    for page in PAGES:
        assert len(sides(page)) == 2
        assert "Lethe" in sides(page)
