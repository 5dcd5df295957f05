"""The paper's claim: a training function cannot tell in which context it runs. With one seed all contexts
give the same bits, locally and on Spark."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import frames
import functions
import pages
import pyarrow as pa
import pytest
import searches
import torch
from frames import frame_of
from functions import fit, net
from pages import DOCS, run
from searches import mlp

import lethe

HPARAMS = {"lr": 0.01, "width": 24}
SEED = 11


def contexts(metric: str, direction: str) -> dict[str, Any]:
    """Each runs one trial with `HPARAMS`, or one first."""
    space = lethe.SearchSpace(lr=lethe.loguniform(1e-3, 1e-1), width=lethe.integer(8, 64))
    common: dict[str, Any] = {"metric": metric, "direction": direction, "seed": SEED}
    return {
        "single": lethe.Single(hparams=HPARAMS, **common),
        "search": lethe.Search(space, trials=1, enqueue=[HPARAMS], **common),
        "ablation": lethe.Ablation(base=HPARAMS, hparams={"width": 8}, **common),
        "distributed": lethe.Distributed(hparams=HPARAMS, workers=1, **common),
    }


@pytest.fixture(params=["local", "spark"])
def place(request: pytest.FixtureRequest) -> Any:
    if request.param == "local":
        return False
    spark = request.getfixturevalue("spark")
    # As a user ships modules of his own to Spark's executors.
    for module in (__file__, *(module.__file__ for module in (frames, functions, pages, searches))):
        spark.sparkContext.addPyFile(module)
    return spark


@pytest.fixture
def dataset(digits: pa.Table, place: Any) -> Iterator[lethe.Dataset]:
    options: dict[str, Any] = {"features": "pixels", "label": "digit"}
    if place is False:
        yield lethe.Dataset.from_arrow(digits, **options).split(validation=0.2, seed=7)
    else:
        frame = frame_of(place, digits)
        yield lethe.Dataset.from_spark(frame, **options).split(validation=0.2, seed=7)


def native(place: Any) -> lethe.Supervised:
    return lethe.Supervised(
        model=mlp, loss="cross_entropy", metrics=["accuracy"], epochs=3, batch_size=48, schedule="cosine"
    )


def in_python(place: Any) -> lethe.Function:
    return lethe.Function(fit, net, epochs=3)


def ran(train: Any, dataset: Any, place: Any) -> dict[str, tuple[Any, dict[str, torch.Tensor]]]:
    """Of each context its first trial's history, and the best trial's weights where that is the first."""
    found = {}
    for name, context in contexts("accuracy", "max").items():
        result = lethe.lagom(train, dataset, context, spark=place, quiet=True)
        history = result.history[result.history["trial"] == 0].drop(columns="trial")
        assert result.best is not None
        weights = result.best_model().state_dict() if result.best.trial == 0 else {}
        found[name] = (history.to_numpy().tolist(), weights)
    return found


SEEN: dict[str, Any] = {}


@pytest.mark.parametrize("kind", [native, in_python], ids=["native", "python"])
def test_all_contexts_give_the_same_bits(kind: Any, dataset: lethe.Dataset, place: Any) -> None:
    found = ran(kind(place), dataset, place)
    history, weights = found["single"]
    assert len(history) == 3
    assert weights
    for name, (other, others) in found.items():
        assert other == history, name
        for tensor in others:
            assert torch.equal(others[tensor], weights[tensor]), (name, tensor)
    # The same on Spark as on a laptop.
    key = kind.__name__
    if key in SEEN:
        assert SEEN[key][0] == history
        assert all(torch.equal(SEEN[key][1][tensor], weights[tensor]) for tensor in weights)
    SEEN[key] = history, weights


def test_two_workers_give_the_same_bits_on_spark(dataset: lethe.Dataset, place: Any) -> None:
    """Dropout, which each of them draws for itself, batch norm and Adam."""
    context = lethe.Distributed(hparams=HPARAMS, workers=2, metric="accuracy", direction="max", seed=SEED)
    result = lethe.lagom(in_python(place), dataset, context, spark=place, slots=2, quiet=True)
    assert result.trials["state"].tolist() == ["finished"], result.trials["error"].tolist()
    found = result.history.to_numpy().tolist(), result.best_model().state_dict()
    history, weights = SEEN.setdefault("two", found)
    assert len(history) == 3
    assert found[0] == history
    assert all(torch.equal(tensor, weights[name]) for name, tensor in found[1].items())


def spy(dataset: Any, hparams: dict[str, Any], reporter: Any) -> dict[str, float]:
    """Looks for whatever could tell it where it runs, and prints it."""
    import re
    import sys

    environment = {name: value for name, value in os.environ.items() if name != "LETHE_TEST_RUN"}
    found = {
        "environment": sorted(environment.items()),
        "arguments": sys.argv,
        # Of its own, under a random name.
        "folder": re.sub(r"lethe-\w+$", "lethe-…", os.getcwd()),
        "files": os.listdir(),
        "hashes": list({"a", "b", "c", "d", "e"}),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "hparams": sorted(hparams.items()),
        "dataset": repr(dataset),
        "rank": (lethe.rank(), lethe.world()),
        "main": sys.modules["__main__"].__name__,
        "modules": sorted(name for name in sys.modules if name.startswith("pyspark"))[:1],
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    return {"accuracy": 1.0}


def test_a_function_finds_nothing_that_tells_its_context(dataset: lethe.Dataset, place: Any) -> None:
    from pathlib import Path

    seen = {}
    for name, context in contexts("accuracy", "max").items():
        result = lethe.lagom(spy, dataset, context, spark=place, quiet=True)
        assert set(result.trials["state"]) == {"finished"}, result.trials["error"].tolist()
        seen[name] = Path(result.directory, "logs", "trial-0.log").read_text()
    for name, text in seen.items():
        assert text == seen["single"], name
    assert "arguments: ['']" in seen["single"]
    if "spy" in SEEN:
        assert SEEN["spy"] == seen["single"], "the same on Spark as on a laptop"
    SEEN["spy"] = seen["single"]


def test_the_quickstart_runs_on_spark_as_it_is_written(spark: Any) -> None:
    scope: dict[str, Any] = {"__name__": "page"}
    assert run(DOCS / "index.md", scope, "With Spark") == 6
    assert scope["digits"].session() is not None
    assert len(scope["result"].trials) == 20
    assert scope["found"].best.value > 0.5
    assert (scope["answers"]["prediction"] == scope["rows"]["digit"]).mean() > 0.9
