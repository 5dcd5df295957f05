"""A training function of Maggy's is called with its own names, and its answer is understood."""

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

import lethe
from lethe import context
from lethe.experiment.code import source
from lethe.maggy import tensorboard
from lethe.maggy.ablation import AblationStudy
from lethe.maggy.config import (
    AblationConfig,
    BaseConfig,
    HyperparameterOptConfig,
    LagomConfig,
    TfDistributedConfig,
    TorchDistributedConfig,
)
from lethe.maggy.function import Reporter, value
from lethe.maggy.optimizer import Asha
from lethe.maggy.searchspace import Searchspace
from lethe.maggy.translate import translate
from lethe.worker.bundle import _pickler


class Data:
    """A trial's dataset, as far as functions of Maggy's see it."""

    train, validation, test = "train rows", "validation rows", "test rows"

    def __init__(self, has_validation: bool = True) -> None:
        self.has_validation = has_validation


def run(function: Callable[..., Any], config: LagomConfig, **parts: Any) -> Any:
    """As the worker calls it, which has got it pickled."""
    train = translate(function, config).train
    sent = pickle.loads(_pickler().dumps(train.train))
    assert inspect.signature(sent).parameters.keys() == set(train.arguments)
    assert set(train.arguments) <= parts.keys()
    return sent(**{name: parts[name] for name in train.arguments})


def search(optimizer: Any = "randomsearch", **changes: Any) -> HyperparameterOptConfig:
    space = Searchspace(lr=("DOUBLE", [0.1, 1.0]))
    return HyperparameterOptConfig(3, optimizer, space, **changes)


def test_model_and_data_are_given_as_they_are() -> None:
    def on_all(model: Any, dataset: Any, train_set: Any, test_set: Any, hparams: Any) -> Any:
        return {
            "metric": hparams["lr"],
            "same": model is nn.Linear,
            "sum": sum(dataset) + train_set - test_set,
        }

    given = search(model=nn.Linear, dataset=[5, 3])
    assert run(on_all, given, hparams={"lr": 0.5}) == {"metric": 0.5, "same": True, "sum": 10}
    given = search(model=nn.Linear, train_set=4, test_set=1)
    assert run(on_all, given, hparams={"lr": 0.5})["sum"] == 8


def test_modules_and_hyperparameters_of_a_training() -> None:
    def on_module(module: Any, hparams: Any, lr: float, scale: int = 2) -> float:
        assert module is nn.Linear
        return float(lr * scale + len(hparams["layers"]))

    given = TorchDistributedConfig(nn.Linear, hparams={"lr": 0.5, "layers": [3, 4]}, workers=1)
    assert run(on_module, given, hparams={"lr": 0.5}) == 3.0


class Pretrained(nn.Linear):
    """As a module of Transformers."""

    sizes = (2, 2)

    @classmethod
    def from_pretrained(cls) -> "Pretrained":
        return cls(*cls.sizes)


def test_a_module_s_class_methods_make_modules_that_are_trained_together() -> None:
    def on_module(module: Any) -> int:
        made = [module(2, 2), module.from_pretrained()]
        assert [type(one) for one in made] == [Pretrained, Pretrained]
        assert module.sizes == (2, 2)
        return module.__name__ == "Pretrained" and [one in together for one in made].count(True)

    given = TorchDistributedConfig(Pretrained, workers=2)
    together: list[Any] = []

    def mark(model: Any) -> Any:
        together.append(model)
        return model

    call = translate(on_module, given).train.train
    context.enter(0, 2, mark)
    try:
        assert call() == 2
    finally:
        context.enter(0, 1)


def test_data_are_processed_where_the_function_runs() -> None:
    def on_sets(train_set: Any, test_set: Any) -> float:
        return float(train_set - test_set)

    given = TfDistributedConfig(dataset=["7", "3"], process_data=lambda paths: [int(one) for one in paths])
    assert run(on_sets, given) == 4.0


def test_a_dataset_of_lethe_is_the_trial_s() -> None:
    def on_sets(train_set: Any, test_set: Any, dataset: Any) -> Any:
        return {"metric": 1.0 if dataset.train == train_set == "train rows" else 0.0, "test": len(test_set)}

    import pyarrow as pa

    given = search(dataset=lethe.Dataset.from_arrow(pa.table({"x": [1.0], "y": [1]}), label="y"))
    assert run(on_sets, given, dataset=Data()) == {"metric": 1.0, "test": len("validation rows")}
    assert run(on_sets, given, dataset=Data(False))["test"] == len("test rows")


def test_hyperparameters_come_by_name_and_with_the_budget() -> None:
    def by_name(lr: float, hparams: Any, reporter: Any) -> float:
        return lr + float(hparams["budget"])

    assert run(by_name, search(Asha(3, 1, 9)), hparams={"lr": 0.5}, reporter=None) == 9.5


class Reports:
    def __init__(self) -> None:
        self.broadcasts: list[Any] = []

    def broadcast(self, metric: Any, step: Any = None) -> None:
        self.broadcasts.append((metric, step))

    def log(self, *values: Any) -> None:
        self.broadcasts.append(values)


def test_the_reporter_takes_maggy_s_arguments() -> None:
    reports = Reports()
    reporter = Reporter(reports)
    reporter.broadcast(metric=1.0, step=0)
    reporter.broadcast(2.0, 0)
    reporter.broadcast(3.0)
    reporter.log("text", True)
    reporter.log("text", jupyter=False)
    assert reports.broadcasts == [(1.0, 0), (3.0, None), ("text",), ("text",)]


@pytest.mark.parametrize(
    ("returned", "metric", "found"),
    [
        (0.5, "metric", 0.5),
        (None, "metric", None),
        ([0.3, 0.9], "metric", 0.3),
        ({"accuracy": 0.9, "loss": 1}, "metric", {"metric": 0.9, "accuracy": 0.9, "loss": 1}),
        ({"metric": 0.1, "loss": 1, "text": "no number"}, "metric", {"metric": 0.1, "loss": 1}),
        ({"loss": np.float32(2), "accuracy": 1}, "accuracy", {"loss": 2, "accuracy": 1}),
        ({"loss": 2}, "accuracy", {"loss": 2}),
    ],
)
def test_what_is_returned_is_a_number_or_numbers_by_name(returned: Any, metric: str, found: Any) -> None:
    assert value(returned, metric) == found


def test_a_function_is_compared_by_its_own_source() -> None:
    def mine(hparams: Any) -> float:
        return 12345.0

    assert "12345.0" in source(translate(mine, search()).train.train)


def make_model() -> nn.Module:
    model = nn.Sequential()
    for name in ("first", "enc_one", "Enc_two", "last"):
        model.add_module(name, nn.Linear(2, 2))
    return model


def test_layers_that_begin_alike_are_left_out_where_the_model_is_made() -> None:
    study = AblationStudy()
    study.model.set_base_model_generator(make_model)
    study.model.layers.include_groups(prefix="enc")
    study.model.layers.include_groups(prefix="dec")
    found = translate(lambda model_function: 0, AblationConfig(study)).experiment
    models = {one.component.name: one.model for one in found.trials(None) if one.component}  # type: ignore[attr-defined]
    left = pickle.loads(_pickler().dumps(models["model prefix enc"]))()
    assert [name for name, _ in left.named_children()] == ["first", "last"]
    with pytest.raises(lethe.ModelError, match="layers prefixed dec: the model has none; there are first"):
        models["model prefix dec"]()


def test_functions_of_a_study_call_their_generators() -> None:
    def on_functions(dataset_function: Any, model_function: Any, hparams: Any) -> Any:
        rows = dataset_function(3, batch_size=2)
        assert rows == hparams["dataset_function"](3, 2)
        assert "ablated_feature" not in hparams
        return {"metric": 1.0 if rows == [3, 2, "age"] else 0.0, "layers": len(model_function())}

    def rows(num_epochs: int, batch_size: int, ablated_feature: str | None) -> Any:
        return [num_epochs, batch_size, ablated_feature]

    study = AblationStudy(dataset_generator=rows)
    study.model.set_base_model_generator(make_model)
    study.features.include("age")
    given = {"model": make_model, "hparams": {"ablated_feature": "age"}}
    assert run(on_functions, AblationConfig(study), **given) == {"metric": 1.0, "layers": 4}
    given = {"model": make_model, "hparams": {"ablated_feature": "None"}}
    assert run(on_functions, AblationConfig(study), **given)["metric"] == 0.0


def test_a_study_s_function_may_ask_for_the_model_itself() -> None:
    def on_model(model: Any) -> float:
        return float(len(model))

    study = AblationStudy()
    study.model.set_base_model_generator(make_model)
    study.model.layers.include("first")
    assert run(on_model, AblationConfig(study), model=make_model, hparams={}) == 4.0


def test_each_trial_has_a_folder_for_tensorboard(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders: list[str] = []

    def writes() -> float:
        folders.append(tensorboard.logdir())
        assert tensorboard.logdir() == folders[-1]
        return 0.0

    train = translate(writes, BaseConfig()).train.train
    train()
    train()
    assert len(set(folders)) == len(list(tmp_path.iterdir())) == 2
