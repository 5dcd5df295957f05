"""The paper's notebook: run by papermill in each context, on a plain kernel and on Spark; nothing but its
parameters changes."""

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import papermill
import pytest
from conftest import lethe_processes, wait_for
from kernels import spark_kernel

NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebooks" / "oblivious.ipynb"
#: Less of everything: what takes time is each kernel's start.
SMALL = {"epochs": 3, "trials": 2, "seeds": 1}


def test_it_is_committed_without_outputs_and_says_what_its_parameters_are() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    assert tagged == cells[:1]
    assert 'context = "single"' in "".join(tagged[0]["source"])


@pytest.fixture(params=["python", "spark"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "spark":
        for name, value in spark_kernel({}).items():
            monkeypatch.setenv(name, value)
    return str(request.param)


def outputs(notebook: Any, name: str) -> Any:
    """Of the cell with this id."""
    (found,) = (cell.outputs for cell in notebook.cells if cell.get("id") == name)
    return found


#: By context, what was reported, wherever it ran.
SEEN: dict[str, float] = {}


@pytest.mark.parametrize("context", ["single", "search", "ablation", "distributed"])
def test_it_runs_unchanged(context: str, place: str, tmp_path: Path) -> None:
    before = lethe_processes()
    # One more cell at its end says whose rows they were.
    asked = nbformat.read(NOTEBOOK, as_version=4)
    asked.cells.append(nbformat.v4.new_code_cell("print(digits.session() is not None)", id="session"))
    nbformat.write(asked, tmp_path / "in.ipynb")
    notebook = papermill.execute_notebook(
        tmp_path / "in.ipynb",
        tmp_path / "out.ipynb",
        parameters={"context": context, **SMALL},
        cwd=tmp_path,
        progress_bar=False,
        start_timeout=180,
    )
    (shown,) = (output for output in outputs(notebook, "context") if output.output_type == "display_data")
    page = shown.data["text/html"]
    count = {"single": 1, "search": 2, "ablation": 3, "distributed": 1}[context]
    assert page.startswith(f"<p><b>{context}-"), "the live table has become the result"
    assert f"{count} trial{'s' if count > 1 else ''} ({count} finished)" in page
    if context == "ablation":
        assert {"layer norm", "layer dropout"} <= set(re.findall(r">(layer \w+)<", page))
    (trials,) = outputs(notebook, "trials")
    assert trials.data["text/plain"].count("finished") == count
    (score,) = outputs(notebook, "score")
    said = re.fullmatch(rf"{context}: validation accuracy (0\.\d+) with (.*)\n", score.text)
    assert said is not None, score.text
    assert float(said[1]) > 0.7
    if context in ("single", "distributed"):
        # The two workers of "distributed" drop other units than one.
        seen = SEEN.setdefault(context, float(said[1]))
        assert seen == float(said[1]), "it is the same training, with Spark and without"
    (session,) = outputs(notebook, "session")
    assert session.text == f"{place == 'spark'}\n"
    assert (tmp_path / "lethe-runs").is_dir()
    assert wait_for(lambda: lethe_processes() <= before, 10), "a process of Lethe was left behind"
