"""Runs the notebook of the four contexts with papermill, in one of them."""

from pathlib import Path

from airflow.providers.papermill.operators.papermill import PapermillOperator
from airflow.sdk import DAG, Param

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "oblivious.ipynb"
CONTEXTS = ["single", "search", "ablation", "distributed"]

with DAG(
    "lethe_notebook",
    doc_md=__doc__,
    schedule=None,
    params={
        "context": Param("search", enum=CONTEXTS),
        "kernel": Param(
            "lethe", type="string", description="Jupyter's name of a kernel that has lethe and torch"
        ),
        "folder": Param(
            "/tmp/lethe", type="string", description="Where the notebooks that were run are kept"
        ),
    },
):
    PapermillOperator(
        task_id="notebook",
        input_nb=str(NOTEBOOK),
        output_nb="{{ params.folder }}/{{ run_id }}-{{ params.context }}.ipynb",
        kernel_name="{{ params.kernel }}",
        parameters={"context": "{{ params.context }}"},
    )
