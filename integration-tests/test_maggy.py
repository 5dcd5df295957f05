"""Programs that were written after Maggy's documentation run with other imports."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import DOCS, run

import lethe
from lethe.maggy import AblationStudy, Searchspace, experiment
from lethe.maggy.config import AblationConfig, HyperparameterOptConfig, TorchDistributedConfig
from lethe.maggy.optimizer import Asha

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture(scope="module")
def rows() -> Any:
    """Half of the rows train: (features, labels), twice."""
    random = np.random.default_rng(3)
    features = random.normal(size=(400, 4)).astype("float32")
    labels = features @ np.array([1.0, -2.0, 0.5, 0.0], "float32")
    return [(features[:200], labels[:200]), (features[200:], labels[200:])]


def test_a_search_with_early_stopping(rows: Any) -> None:
    """Random search over a linear model in NumPy: the median rule, the reporter, Maggy's keys."""

    def train_fn(dataset: Any, hparams: Any, reporter: Any) -> float:
        (x, y), (x_test, y_test) = dataset
        weights = np.zeros(x.shape[1])
        for epoch in range(20):
            weights -= hparams["lr"] * x.T @ (x @ weights - y) / len(x)
            loss = float(np.mean((x_test @ weights - y_test) ** 2))
            reporter.broadcast(metric=loss, step=epoch)
        reporter.log(f"{hparams['kind']}: {loss}")
        return loss

    space = Searchspace(lr=("DOUBLE", [0.001, 0.5]))
    space.add("kind", ("CATEGORICAL", ["a", "b"]))
    config = HyperparameterOptConfig(
        num_trials=12,
        optimizer="randomsearch",
        searchspace=space,
        direction="min",
        es_interval=1,
        es_min=3,
        es_policy="median",
        name="linear search",
        dataset=rows,
    )
    result = experiment.lagom(train_fn=train_fn, config=config, spark=False, slots=2, quiet=True)
    assert result["num_trials"] == len(result["metric_list"]) == 12
    assert result["best_val"] == min(result["metric_list"]) < result["avg"] < result["worst_val"]
    assert 0.001 <= result["best_config"]["lr"] <= 0.5
    assert result["best_config"]["kind"] in ("a", "b")
    states = list(result.lethe.trials["state"])
    assert result["early_stopped"] == states.count("stopped")
    assert Path(result.lethe.directory).name.startswith("linear-search-")
    best = int(result["best_id"])
    assert result.lethe.trials["value"][best] == result["best_val"]


def test_asha_gives_its_budget_and_stops_at_rungs() -> None:
    """The function trains for `budget` epochs, as Maggy's does; the poor ones end at their rungs instead."""

    def train_fn(hparams: Any, reporter: Any) -> float:
        for step in range(hparams["budget"]):
            value = hparams["x"] * (step + 1)
            reporter.broadcast(value, step)
        return value

    space = Searchspace(x=("DOUBLE", [0.0, 1.0]))
    config = HyperparameterOptConfig(num_trials=9, optimizer=Asha(3, 1, 9), searchspace=space)
    result = experiment.lagom(train_fn, config, spark=False, slots=1, quiet=True)
    assert result["best_config"]["budget"] == 9
    assert result["early_stopped"] > 0
    trials = result.lethe.trials
    assert set(trials["epochs"][trials["state"] == "stopped"]) <= {1, 3}
    assert result["best_val"] == pytest.approx(9 * result["best_config"]["x"])


def test_an_ablation_study_of_a_module(rows: Any) -> None:
    """Layers, a group by prefix, a model of its own, and features by a dataset generator."""
    torch = pytest.importorskip("torch")

    def base_model() -> Any:
        from collections import OrderedDict

        from torch import nn

        layers = OrderedDict(
            first=nn.Linear(4, 4), mid_one=nn.Linear(4, 4), mid_two=nn.ReLU(), last=nn.Linear(4, 1)
        )
        return nn.Sequential(layers)

    def linear_model() -> Any:
        from torch import nn

        return nn.Linear(4, 1)

    def make_rows(num_epochs: int, batch_size: int, ablated_feature: Any = None) -> Any:
        (x, y), _ = rows
        if ablated_feature is not None:
            x = x.copy()
            x[:, int(ablated_feature[1:])] = 0
        for _ in range(num_epochs):
            for start in range(0, len(x), batch_size):
                yield torch.tensor(x[start : start + batch_size]), torch.tensor(y[start : start + batch_size])

    def train_fn(dataset_function: Any, model_function: Any) -> float:
        import torch

        model = model_function()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        losses = []
        for x, y in dataset_function(5, 20):
            optimizer.zero_grad()
            loss = ((model(x).squeeze(1) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return sum(losses[-10:]) / 10

    study = AblationStudy("linear", training_dataset_version=1, label_name="y")
    study.set_dataset_generator(make_rows)
    study.features.include("x1", ["x3"])
    study.model.set_base_model_generator(base_model)
    study.model.layers.include("mid_two")
    study.model.layers.include_groups(["mid_one", "mid_two"])
    study.model.layers.include_groups(prefix="mid")
    study.model.add_custom_model_generator(linear_model, "linear")
    config = AblationConfig(ablation_study=study, ablator="loco", direction="min", name="linear-LOCO")
    result = experiment.lagom(train_fn, config, spark=False, slots=2, quiet=True)
    assert result["num_trials"] == 7, list(result.lethe.trials["error"])
    assert result["best_val"] == min(result["metric_list"])
    assert result["worst_config"] == {"ablated_feature": "x1", "ablated_layer": "None"}
    assert result.lethe.ablation is not None
    names = [effect.name for effect in result.lethe.ablation.components]
    assert set(names) == {
        "feature x1",
        "feature x3",
        "layer mid_two",
        "layers ['mid_one', 'mid_two']",
        "model prefix mid",
        "model linear",
    }


def test_the_best_configuration_goes_into_a_training_with_the_same_function() -> None:
    class Module:
        def __init__(self, width: int) -> None:
            self.width = width

    def train_fn(module: Any, hparams: Any) -> dict[str, float]:
        return {"Metric": float(module(hparams["width"]).width), "other": 1.0}

    with pytest.warns(UserWarning, match="TorchDistributedConfig: ignored: workers"):
        result = experiment.lagom(
            train_fn, TorchDistributedConfig(Module, hparams={"width": 7}), spark=False, quiet=True
        )
    assert result == {"test result": 7.0}
    assert pickle.loads(pickle.dumps(dict(result))) == result


def test_without_a_configuration_the_function_runs_once() -> None:
    def train_fn(reporter: Any) -> float:
        reporter.broadcast(0.25)
        return 0.5

    result = experiment.lagom(train_fn, name="MNIST", spark=False, quiet=True)
    assert result["test result"] == {"metric": [0.5]}
    with pytest.raises(lethe.ExperimentError, match="ZeroDivisionError"):
        experiment.lagom(lambda: 1 / 0, spark=False, quiet=True)


def test_the_page_runs_as_it_is_written() -> None:
    scope: dict[str, Any] = {"__name__": "page"}
    assert run(DOCS / "from-maggy.md", scope) == 3
    assert len(scope["result"].trials) == 12
    assert scope["study_result"]["num_trials"] == 5
