"""The site's first page runs as it is written, without Spark; with it in the integration tests."""

from typing import Any

import pytest
from pages import DOCS, elsewhere, run

__all__ = ["elsewhere"]


@pytest.mark.usefixtures("elsewhere")
def test_the_quickstart_runs_without_spark() -> None:
    scope: dict[str, Any] = {"__name__": "page"}
    assert run(DOCS / "index.md", scope, "Without Spark") == 6
    assert len(scope["result"].trials) == 20
    assert {row.name for row in scope["ablation"].rows} == {"base", "layer 2", "width=16"}
    assert scope["found"].best.value > 0.5
    assert (scope["answers"]["prediction"] == scope["rows"]["digit"]).mean() > 0.9
