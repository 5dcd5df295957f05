"""The example as the README runs it: with spark-submit, and without Spark."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "search_digits.py"
SUBMIT = Path(pyspark.__file__).parent / "bin" / "spark-submit"


@pytest.mark.parametrize(
    "command",
    [
        [str(SUBMIT), "--master", "local[2]", "--conf", "spark.ui.enabled=false", str(EXAMPLE)],
        [sys.executable, str(EXAMPLE), "--no-spark", "--plots", "plots"],
    ],
    ids=["spark-submit", "no-spark"],
)
def test_the_search_finds_a_good_model_and_both_sides_agree_on_it(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.search(r"training took \d+\.\d% of the time of \d slots", done.stdout), done.stdout
    if "--plots" in command:
        names = {path.stem for path in Path("plots").iterdir() if path.stat().st_size > 10_000}
        assert names == {"history", "curves", "parallel", "importance", "slots"}
    found = re.search(r"best model: ([\d.]+) in PyTorch, ([\d.]+) on the executor", done.stdout)
    assert found is not None
    assert found[1] == found[2]
    assert float(found[1]) >= 0.97
