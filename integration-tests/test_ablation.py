"""Ablation studies, of native and Python functions, on the local executor and on Spark."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")

ROWS = 600


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """`y` follows from `strong`, a little from `weak`, and not from `noise`."""
    generator = np.random.default_rng(1)
    strong, weak, noise = generator.normal(size=(3, ROWS)).astype("float32")
    y = (2.0 * strong + 0.3 * weak).astype("float32")
    return pa.table({"strong": strong, "weak": weak, "noise": noise, "y": y})


@pytest.fixture
def dataset(table: pa.Table) -> lethe.Dataset:
    data = lethe.Dataset.from_arrow(table, features=["strong", "weak", "noise"], label="y")
    return data.split(validation=0.25, seed=3)


class Regression(nn.Module):
    def __init__(self, inputs: int, dropout: float) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.dropout(self.encoder(x))).squeeze(1)


def model(hparams: dict[str, Any], inputs: int) -> nn.Module:
    return Regression(inputs, hparams.get("dropout", 0.0))


def linear(hparams: dict[str, Any], inputs: int) -> nn.Module:
    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.line = nn.Linear(inputs, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.line(x).squeeze(1)

    return Line()


def native(**changes: Any) -> lethe.Supervised:
    return lethe.Supervised(model=model, loss="mse", epochs=5, batch_size=32, lr=0.01, **changes)


def study(**parts: Any) -> lethe.Ablation:
    return lethe.Ablation(**{"metric": "loss", "direction": "min", "base": {"dropout": 0.2}, **parts})


def run(train: Any, dataset: lethe.Dataset, what: lethe.Ablation, **options: Any) -> lethe.Result:
    return lethe.lagom(train, dataset, what, **{"spark": False, "quiet": True, "slots": 2, **options})


def test_a_feature_is_worth_what_the_loss_is_without_it(dataset: lethe.Dataset) -> None:
    result = run(native(), dataset, study(features=True, seeds=3))
    found = result.ablation
    assert found is not None
    assert set(result.trials["state"]) == {"finished"}
    assert found.components[0].name == "feature strong"
    strong, noise = (
        next(row for row in found.components if row.name == f"feature {name}") for name in ("strong", "noise")
    )
    assert strong.difference > 1.0
    assert strong.clear
    assert abs(noise.difference) < 0.3
    assert (strong.pairs, strong.trials) == (3, 3)
    assert "feature strong" in repr(found)
    assert "feature strong" in result.summary()
    pytest.importorskip("matplotlib", reason="the chart needs matplotlib").use("agg")
    found.chart().savefig("chart.png")
    assert Path("chart.png").stat().st_size > 10_000
    opened = lethe.open(result.directory)
    assert repr(opened.ablation) == repr(found)
    for plot in (result.plot, opened.plot):
        assert plot.ablation().get_suptitle() == found.title


def test_rows_are_gathered_without_a_feature_and_nothing_is_copied(dataset: lethe.Dataset) -> None:
    from lethe.application.registry import running

    run(native(), dataset, study(features=True))
    (owner,) = running()
    views = list(Path(owner.folder).rglob("*.view"))
    # Other tests of this module have put the same rows: each has a view of its own, and no more.
    latest = max(views, key=lambda path: path.stat().st_mtime)
    before = latest.stat().st_mtime
    run(native(), dataset, study(features=["noise"], seeds=2))
    again = list(Path(owner.folder).rglob("*.view"))
    assert len(again) == len(views)
    assert max(path.stat().st_mtime for path in again) == before


def test_layers_models_datasets_and_hyperparameters_are_left_out(
    dataset: lethe.Dataset, table: pa.Table
) -> None:
    half = lethe.Dataset.from_arrow(table.slice(0, 300), features=["strong", "weak", "noise"], label="y")
    what = study(
        layers=["encoder.2", "dropout"],
        layer_groups={"second": ["encoder.2", "encoder.3"]},
        models={"linear": linear},
        datasets={"half": half.split(validation=0.25, seed=3)},
        hparams={"dropout": 0.0},
    )
    result = run(native(), dataset, what)
    assert list(result.trials["state"]) == ["finished"] * 7, result.trials["error"].tolist()
    assert result.ablation is not None
    names = {row.name for row in result.ablation.components}
    assert names == {
        "layer encoder.2",
        "layer dropout",
        "layers second",
        "model linear",
        "dataset half",
        "dropout=0.0",
    }
    values = dict(zip(result.trials["why"], result.trials["value"], strict=True))
    assert values["layer encoder.2"] != values["base"]
    # A ReLU of a ReLU is one.
    assert values["layers second"] == values["layer encoder.2"]
    assert len(set(values.values())) == 5
    # Without dropout as a layer or as a hyperparameter: the same function.
    assert values["layer dropout"] == pytest.approx(values["dropout=0.0"], rel=1e-6)


def test_a_layer_that_cannot_be_left_out_is_an_error_before_the_trials(dataset: lethe.Dataset) -> None:
    with pytest.raises(lethe.ModelError) as caught:
        run(native(), dataset, study(layers=["encoder.0"]), name="never")
    first = str(caught.value).splitlines()[0]
    assert first.startswith(
        "layer encoder.0 cannot be left out: the layer encoder.2 (Linear), which comes later, "
    )
    assert "takes 16 features and would get 3" in first
    assert not Path("lethe-runs", "never").exists()
    with pytest.raises(lethe.ModelError, match=r"encoder\.9"):
        run(native(), dataset, study(layers=["encoder.9"]))
    with pytest.raises(lethe.LetheError, match="'height'"):
        run(native(), dataset, study(features=["height"]))


class Halves(lethe.Ablator):
    def components(self, study: Any) -> list[lethe.Component]:
        names = study.dataset.features
        return [lethe.Component("first half", without=names[:1]), lethe.Component("rest", without=names[1:])]


def fit(model: nn.Module, dataset: Any, hparams: dict[str, Any]) -> float:
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(5):
        for batch in dataset.train.batches(32, epoch=epoch + 1):
            loss = nn.functional.mse_loss(model(batch["features"]), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    features, labels = dataset.validation.to_torch()
    print(features.shape[1], dataset.features)
    with torch.no_grad():
        return float(nn.functional.mse_loss(model.eval()(features), labels))


def test_python_functions_are_ablated_like_native_ones(dataset: lethe.Dataset) -> None:
    what = study(ablators=[Halves()], layers=["dropout"], models={"linear": linear}, metric="value")
    result = run(lethe.Function(fit, model), dataset, what)
    assert list(result.trials["state"]) == ["finished"] * 5, result.trials["error"].tolist()
    values = dict(zip(result.trials["why"], result.trials["value"], strict=True))
    assert values["first half"] > 1.0 > values["base"]
    logs = [Path(result.directory, "logs", f"trial-{trial}.log").read_text() for trial in range(5)]
    assert [text.split()[0] for text in logs] == ["3", "3", "3", "2", "1"]
    assert "('weak', 'noise')" in logs[3]


def test_a_study_runs_on_the_slots_of_spark(spark: Any, table: pa.Table) -> None:
    frame = spark.createDataFrame(table.to_pandas()).repartition(3)
    dataset = lethe.Dataset.from_spark(frame, features=["strong", "weak", "noise"], label="y")
    what = study(features=True, layers=["dropout"], seeds=2)
    result = lethe.lagom(native(), dataset.split(validation=0.25, seed=3), what, quiet=True)
    assert list(result.trials["state"]) == ["finished"] * 10
    assert result.ablation is not None
    assert result.ablation.components[0].name == "feature strong"
