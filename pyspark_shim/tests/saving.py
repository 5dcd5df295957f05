"""A small trained model, as an experiment leaves it, for tests of saving and loading."""

from typing import Any

import pyarrow as pa
import torch
from torch import nn

from lethe.dataset.preprocessing import Preprocessing
from lethe.model import weights
from lethe.model.generator import Generator
from lethe.model.schema import SCHEMA
from lethe.result.model import TrainedModel
from lethe.result.result import Result
from lethe.result.sql import Tables
from lethe.saved.signature import Signature
from lethe.saved.training import Training

COLUMNS = pa.schema([("area", pa.float64()), ("rooms", pa.int32()), ("city", pa.string())])


def preprocessing(**changes: Any) -> Preprocessing:
    one = {
        "name": "features",
        "columns": COLUMNS.names,
        "dtype": "float32",
        "shape": [3],
        "normalize": ["area"],
    }
    return Preprocessing(
        **{
            "inputs": [one],
            "label": "sold",
            "means": {"area": [50.0]},
            "deviations": {"area": [10.0]},
            "categories": {"city": ["Bern", "Oslo", "Rome"], "sold": ["later", "no", "yes"]},
            **changes,
        }
    )


def rows(count: int = 7) -> pa.Table:
    return pa.table(
        {
            "id": [f"row {i}" for i in range(count)],
            "area": [20.0 + 13 * i % 60 for i in range(count)],
            "rooms": pa.array([i % 4 for i in range(count)], pa.int32()),
            "city": [("Oslo", "Rome", "Bern")[i % 3] for i in range(count)],
        }
    )


def net(hparams: dict[str, Any], inputs: int) -> nn.Module:
    """Its dropout would change predictions outside of evaluation mode."""
    return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, hparams["outputs"]))


def result(
    generator: Any = net, outputs: int = 3, signature: Signature | None = None, **changes: Any
) -> tuple[Result, nn.Module]:
    """The result of an experiment, and its best model."""
    hparams = {"outputs": outputs, "lr": 0.1}
    trained = Generator(generator)(hparams, 3, seed=5)
    table = pa.Table.from_batches(list(weights.batches(weights.named(trained))), schema=SCHEMA)
    trial = {
        "trial": 4,
        "state": "finished",
        "value": 0.75,
        "hparams": hparams,
        "metrics": {"accuracy": 0.75, "loss": None},
        "epochs": 2,
    }
    plan = {
        "experiment": "flats",
        "seed": 3,
        "source": {"type": "search", "optimizer": {"type": "random"}},
        "objective": {"metric": "accuracy", "direction": "max", "select": "last"},
        "function": {"type": "supervised", "loss": "cross_entropy"},
    }
    if signature is None:
        signature = Signature(preprocessing(), COLUMNS, task="classification")
    found = Result(
        {"experiment": "flats", "end": {"type": "completed"}, "best": 4, "trials": [trial], "wall_s": 1.0},
        objectives={"accuracy": "max"},
        directory="flats",
        tables=Tables(None),  # type: ignore[arg-type]
        model=TrainedModel(Generator(generator), hparams, 3, 5, table),
        best_model_path=None,
        training=Training("search", plan, signature),
    )
    return found, trained.eval()


def outputs(module: nn.Module, table: pa.Table, **changes: Any) -> torch.Tensor:
    """Of the module, on prepared rows."""
    with torch.inference_mode():
        found: torch.Tensor = module(preprocessing(**changes).apply(table, form="torch")["features"])
    return found
