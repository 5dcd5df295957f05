"""Searches on Spark, trains with the best hyperparameters on several workers, and registers the model.

The connection `spark_default` names the cluster. `python -m lethe.pack` makes the archive that is shipped.
"""

import json
import os
import shutil
from pathlib import Path

from airflow.providers.apache.spark.operators.spark_submit import SparkSubmitOperator
from airflow.sdk import DAG, Param, task

JOB = Path(__file__).parents[1] / "digits.py"
RUN = "{{ params.folder }}/{{ run_id }}"


def on_spark(task_id: str, *arguments: str) -> SparkSubmitOperator:
    """The job with these arguments, in the environment that the archive brings."""
    return SparkSubmitOperator(
        task_id=task_id,
        name=f"lethe_digits.{task_id}",
        application=str(JOB),
        application_args=[task_id, "--out", f"{RUN}/{task_id}", *arguments],
        conf={
            "spark.archives": "{{ params.archive }}#environment",
            "spark.pyspark.python": "./environment/bin/python",
            "spark.pyspark.driver.python": "{{ params.python }}",
        },
    )


@task
def read_best(folder: str) -> dict:
    """What the job found, as an XCom."""
    return json.loads((Path(folder) / "best.json").read_text())


@task
def register(folder: str, registry: str, best: dict) -> str:
    """Puts the model into the registry's folder under the next version, and into MLflow where one is
    configured."""
    models = Path(registry) / "digits"
    models.mkdir(parents=True, exist_ok=True)
    version = 1 + max((int(path.name) for path in models.iterdir() if path.name.isdigit()), default=0)
    coming = models / f".{version}"
    shutil.copytree(Path(folder) / "model", coming, dirs_exist_ok=True)
    shutil.copy(Path(folder) / "best.json", coming)
    # Whoever reads the registry sees a whole version or none.
    coming.rename(models / str(version))
    if "MLFLOW_TRACKING_URI" in os.environ:
        import mlflow

        with mlflow.start_run(run_name=best["experiment"]) as run:
            mlflow.log_params(best["hparams"])
            mlflow.log_metrics(best["metrics"])
            mlflow.log_artifacts(str(models / str(version)), "model")
        client = mlflow.MlflowClient()
        if not client.search_registered_models("name = 'digits'"):
            client.create_registered_model("digits")
        client.create_model_version("digits", f"{run.info.artifact_uri}/model", run.info.run_id)
    return str(models / str(version))


with DAG(
    "lethe_digits",
    doc_md=__doc__,
    schedule=None,
    # What the search finds reaches the next job's command line as JSON.
    user_defined_filters={"json": json.dumps},
    params={
        "archive": Param("env.tar.gz", type="string", description="Of python -m lethe.pack, seen from here"),
        "python": Param(
            "python3", type="string", description="The driver's interpreter, which has lethe and torch"
        ),
        "folder": Param(
            "/tmp/lethe",
            type="string",
            description="What tasks leave for each other; on every worker of Airflow",
        ),
        "registry": Param("/tmp/lethe/registry", type="string"),
        "trials": Param(20, type="integer", minimum=1),
        "workers": Param(
            2, type="integer", minimum=1, description="Slots that train the final model together"
        ),
    },
):
    search = on_spark("search", "--trials", "{{ params.trials }}")
    best = read_best(f"{RUN}/search")
    train = on_spark(
        "train",
        *("--workers", "{{ params.workers }}"),
        *("--hparams", "{{ ti.xcom_pull(task_ids='read_best')['hparams'] | json }}"),
    )
    trained = read_best.override(task_id="read_trained")(f"{RUN}/train")
    search >> best >> train >> trained
    register(f"{RUN}/train", "{{ params.registry }}", trained)
