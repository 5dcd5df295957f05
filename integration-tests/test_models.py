"""Models of real experiments, saved, loaded elsewhere, and applied to raw rows here and on Spark."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from buckets import Bucket, holds, serving
from frames import frame_of
from tables import table
from torch import nn

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")

FEATURES = ["a", "b", "city", "group"]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with serving() as found:
        yield found


def frame() -> pd.DataFrame:
    """With a class that its features tell, as words, and nulls."""
    rows = table().to_pandas()
    rows["kind"] = np.where(rows["a"] + 3 * (rows["city"] == "Rome") > 6, "dear", "cheap")
    rows.loc[rows.index % 7 == 0, "a"] = None
    return rows


def mlp(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))


def dataset() -> lethe.Dataset:
    data = lethe.Dataset.from_arrow(frame(), FEATURES, "kind", key="id", fill={"a": 5.0})
    return data.normalize("a", "group").split(by="part")


@pytest.fixture(scope="module")
def trained(no_process_left: None, tmp_path_factory: pytest.TempPathFactory) -> lethe.Result:
    train = lethe.Supervised(model=mlp, loss="cross_entropy", metrics=["accuracy"], epochs=15)
    space = lethe.SearchSpace(lr=lethe.loguniform(3e-3, 3e-2))
    search = lethe.Search(space, trials=2, metric="accuracy", direction="max", seed=1)
    folder = str(tmp_path_factory.mktemp("runs"))
    return lethe.lagom(
        train, dataset(), search, spark=False, slots=1, directory=folder, name="kinds", quiet=True
    )


def of_best_model(result: lethe.Result) -> list[str]:
    """What the best model says of all rows, prepared by the result's preprocessing."""
    assert result.preprocessing is not None
    features = result.preprocessing.apply(frame(), form="torch")["features"]
    with torch.no_grad():
        classes = result.best_model()(features).argmax(dim=1)
    names = result.preprocessing.classes
    assert names is not None
    return [names[place] for place in classes.tolist()]


def validation_accuracy(predicted: pd.DataFrame) -> float:
    rows = predicted[predicted["part"] == "validation"]
    return float((rows["prediction"] == rows["kind"]).mean())


ELSEWHERE = """
import sys
import pandas as pd
import lethe
model = lethe.load(sys.argv[1])
model.predict(pd.read_pickle(sys.argv[2])).to_pickle(sys.argv[3])
assert not {"pyspark", "sklearn"} & set(sys.modules)
"""


def test_another_process_loads_it_from_a_bucket_and_predicts_as_the_best_model(
    trained: lethe.Result, bucket: Bucket, tmp_path: Path
) -> None:
    url = trained.save("s3://data/models/kinds", store_options=bucket.options)
    assert url == "s3://data/models/kinds"
    frame().to_pickle("rows.pickle")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, url, "rows.pickle", "predicted.pickle"],
        env=environment | bucket.environment,
        check=True,
    )
    predicted = pd.read_pickle("predicted.pickle")
    assert predicted["prediction"].tolist() == of_best_model(trained)
    assert trained.best is not None
    assert validation_accuracy(predicted) == pytest.approx(trained.best.metrics["accuracy"], abs=1e-12)
    assert validation_accuracy(predicted) > 0.7, "it has learned something to be wrong about"


def test_what_a_bucket_refuses_is_an_error_without_secrets(
    trained: lethe.Result, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    wrong = bucket.options | {"aws_secret_access_key": "not-the-right-one"}
    with pytest.raises(
        lethe.ModelError, match=r"^s3://data/other/manifest.json cannot be read: .*store_options="
    ) as caught:
        trained.save("s3://data/other", store_options=wrong)
    assert "not-the-right-one" not in str(caught.value)
    with pytest.raises(lethe.ModelError, match=r"^s3://none/other/state_dict.pt cannot be written"):
        trained.save("s3://none/other", store_options=bucket.options)
    with pytest.raises(lethe.ModelError, match=r"no model at s3://data/nothing, for it has no manifest.json"):
        lethe.load("s3://data/nothing", store_options=bucket.options)
    trained.save("s3://data/again", store_options=bucket.options)
    with pytest.raises(lethe.ModelError, match="a model at s3://data/again already"):
        trained.save("s3://data/again", store_options=bucket.options)
    trained.save("s3://data/again", store_options=bucket.options, overwrite=True)
    model = lethe.load("s3://data/again", store_options=bucket.options)
    assert model.columns.keys() == set(FEATURES)
    for name in bucket.client.list_objects_v2(Bucket="data", Prefix="again/")["Contents"]:
        (tmp_path / "copy").mkdir(exist_ok=True)
        bucket.client.download_file("data", name["Key"], str(tmp_path / "copy" / Path(name["Key"]).name))
    assert lethe.load(tmp_path / "copy").predict(frame())["prediction"].tolist() == of_best_model(trained)
    for secret in (bucket.secret, bucket.key):
        assert not holds(tmp_path / "copy", secret)
        assert secret not in repr(model) + json.dumps(model.description)


def test_executors_of_spark_predict_their_partitions(
    trained: lethe.Result, spark: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyspark.sql import functions as F

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in bucket.s3a.items():
        spark.conf.set(name, value)
    model = lethe.load(trained.save("s3a://data/spark/kinds"))
    # A name with a dot, and one twice: mapInArrow itself takes neither.
    rows = frame_of(spark, pa.Table.from_pandas(frame(), preserve_index=False))
    rows = rows.withColumn("x.y", F.lit(1)).repartition(3)
    rows = rows.select("*", F.col("w").alias("w"))
    answer = model.predict(rows, probabilities="p.q")
    assert answer.columns == [*rows.columns, "prediction", "p.q"]
    found = answer.select("id", "kind", "part", "prediction", "`p.q`").toPandas().sort_values("id")
    here = model.predict(frame(), probabilities=True).sort_values("id")
    assert found["prediction"].tolist() == here["prediction"].tolist()
    assert np.allclose(np.stack(found["p.q"]), np.stack(here["probabilities"]), atol=1e-6)
    assert trained.best is not None
    assert validation_accuracy(found) == pytest.approx(trained.best.metrics["accuracy"], abs=1e-12)
    with pytest.raises(lethe.DataError, match="no column 'city'"):
        model.predict(rows.drop("city"))
    with pytest.raises(lethe.DataError, match="'a' was double in training and is string here"):
        model.predict(rows.withColumn("a", F.lit("far")))
    with pytest.raises(Exception, match=r"the category 'Paris', which training did not have; .*unknown=-1"):
        model.predict(rows.withColumn("city", F.lit("Paris"))).collect()


def test_a_regression_of_a_python_function_predicts_its_values(spark: Any) -> None:
    """A module that only Python runs: its generator goes to the executors."""

    class Ratio(nn.Module):
        def __init__(self, inputs: int) -> None:
            super().__init__()
            self.layer = nn.Linear(inputs, 1)

        def forward(self, x: torch.Tensor, **options: Any) -> torch.Tensor:
            return self.layer(x).squeeze(1)

    def make(hparams: dict[str, Any], inputs: int) -> nn.Module:
        return Ratio(inputs)

    def fit(model: Any, dataset: Any) -> float:
        features, label = dataset.train.to_torch()
        solution = torch.linalg.lstsq(
            torch.cat([features, torch.ones(len(features), 1)], 1), label[:, None]
        ).solution
        with torch.no_grad():
            model.layer.weight.copy_(solution[:-1].T)
            model.layer.bias.copy_(solution[-1])
        features, label = dataset.validation.to_torch()
        return float((model(features) - label).pow(2).mean())

    rows = frame().assign(y=lambda rows: rows["b"] * 2.5 + rows["group"])
    data = lethe.Dataset.from_arrow(rows, ["b", "group"], "y", key="id").split(by="part")
    single = lethe.Single(metric="error", direction="min")
    result = lethe.lagom(lethe.Function(fit, model=make), data, single, spark=False, slots=1, quiet=True)
    with pytest.warns(UserWarning, match="saved without TorchScript"):
        path = result.save("ratio")
    model = lethe.load(path, model=make)
    found = model.predict(spark.createDataFrame(rows).repartition(2)).toPandas().sort_values("id")
    with torch.no_grad():
        features = torch.tensor(found[["b", "group"]].to_numpy("float32"))
        assert np.allclose(found["prediction"], result.best_model()(features).numpy(), atol=1e-4)
    errors = (found["prediction"] - found["y"])[found["part"] == "validation"]
    assert result.best is not None
    assert float((errors**2).mean()) == pytest.approx(result.best.value, abs=1e-6)


def test_the_best_of_an_ablation_needs_what_it_was_trained_on() -> None:
    """Without a column that only disturbs: rows need not have it."""
    rows = frame().assign(noise=np.random.default_rng(1).normal(0, 100, len(frame())))
    rows["twice"] = rows["b"] * 2.0
    data = (
        lethe.Dataset.from_arrow(rows, ["b", "noise", "group"], "twice", key="id")
        .normalize()
        .split(by="part")
    )
    train = lethe.Supervised(
        model=lambda inputs: nn.Sequential(nn.Linear(inputs, 1), nn.Flatten(0)), loss="mse", epochs=3, lr=0.1
    )
    study = lethe.Ablation(metric="loss", direction="min", features=["noise", "b"])
    result = lethe.lagom(train, data, study, spark=False, slots=1, quiet=True)
    assert result.best is not None
    left_out = {0: None, 1: "noise", 2: "b"}[result.best.trial]
    model = lethe.load(result.save("study"))
    assert set(model.columns) == {"b", "noise", "group"} - {left_out}
    found = model.predict(rows[[*model.columns, "part", "twice"]])
    errors = (found["prediction"] - found["twice"])[found["part"] == "validation"]
    assert float((errors**2).mean()) == pytest.approx(result.best.value, rel=1e-5)
