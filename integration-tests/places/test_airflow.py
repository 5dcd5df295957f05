"""The DAGs of examples/airflow, run by Airflow's own command in an environment of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lethe
from places.cluster import Cluster
from places.conftest import user
from places.environments import environment
from places.pages import REPOSITORY

EXAMPLES = REPOSITORY / "examples"


class Airflow:
    """An Airflow with a SQLite database, and the examples' DAGs."""

    def __init__(self, home: Path) -> None:
        self.program = environment("airflow").with_name("airflow")
        self.environment = user() | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(EXAMPLES / "airflow" / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "MLFLOW_TRACKING_URI": (home / "mlflow").as_uri(),
            "MLFLOW_ALLOW_FILE_STORE": "true",
        }
        self.run("db", "migrate")

    def run(self, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [str(self.program), *arguments],
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-8000:]
        return done.stdout

    def test(self, dag: str, params: dict[str, Any], **environment: str) -> str:
        """Runs a DAG, and fails as it fails."""
        return self.run("dags", "test", dag, "--conf", json.dumps(params), **environment)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    return Airflow(tmp_path_factory.mktemp("airflow"))


def test_a_dag_searches_trains_and_registers(
    airflow: Airflow, cluster: Cluster, shipped: Path, tmp_path: Path
) -> None:
    registry = tmp_path / "registry"
    params = {
        "archive": str(shipped),
        "python": sys.executable,
        "folder": str(tmp_path / "runs"),
        "registry": str(registry),
        "trials": 4,
    }
    airflow.test("lethe_digits", params, AIRFLOW_CONN_SPARK_DEFAULT=cluster.master)
    (version,) = (registry / "digits").iterdir()
    assert version.name == "1"
    (found,) = (json.loads(path.read_text()) for path in tmp_path.glob("runs/*/search/best.json"))
    registered = json.loads((version / "best.json").read_text())
    assert registered["experiment"].startswith("distributed")
    assert registered["hparams"] == found["hparams"], "the best of the search were trained"
    assert registered["metrics"]["accuracy"] > 0.9
    (trained,) = tmp_path.glob(f"runs/*/train/{registered['experiment']}")
    assigned = lethe.open(trained).events.query("kind == 'assigned'")
    assert assigned["slot"].nunique() == 2, "two workers trained one model"
    answer = lethe.load(version).predict(pd.DataFrame({"pixels": [[0.0] * 64]}))
    assert answer["prediction"].iloc[0] in range(10)
    assert list((Path(airflow.environment["AIRFLOW_HOME"]) / "mlflow").glob("models/digits/version-1"))


def test_a_dag_runs_the_notebook(airflow: Airflow, tmp_path: Path) -> None:
    kernel = [sys.executable, "-m", "ipykernel", "install", "--prefix", str(tmp_path), "--name", "lethe"]
    subprocess.run(kernel, check=True, capture_output=True)
    airflow.test(
        "lethe_notebook",
        {"context": "single", "folder": str(tmp_path)},
        JUPYTER_PATH=str(tmp_path / "share" / "jupyter"),
    )
    (ran,) = tmp_path.glob("*-single.ipynb")
    cells = json.loads(ran.read_text())["cells"]
    text = "".join(
        line for cell in cells for output in cell.get("outputs", ()) for line in output.get("text", ())
    )
    assert "single: validation accuracy" in text
