"""Keras on TensorFlow on several workers: `test_tensorflow.py` runs this with an interpreter that has it."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from gangs import Several, note, notes

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2"}
#: Of a batch, which two workers share evenly.
BATCH = 48


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    """289 rows to train on: the last batch has one."""
    small = digits.slice(0, 361)
    return lethe.Dataset.from_arrow(small, features="pixels", label="digit").split(validation=0.2, seed=3)


def function(train: Any, model: Any, **options: Any) -> lethe.Function:
    return lethe.Function(train, model, strategy="multi_worker_mirrored", environment=QUIET, **options)


def run(train: Any, dataset: lethe.Dataset | None, what: Any, **options: Any) -> lethe.Result:
    return lethe.lagom(train, dataset, what, **{"spark": False, "quiet": True, "slots": 2, **options})


def keras_of(kind: str) -> Any:
    import keras

    if kind != "keras 2":
        return keras
    import tf_keras

    return tf_keras


def make(hparams: dict[str, Any], inputs: int) -> Any:
    keras = keras_of(hparams["kind"])
    layers = keras.layers
    hidden = layers.Dense(16, activation="tanh")
    return keras.Sequential([layers.Input((inputs,)), hidden, layers.Dense(10)])


def compiled(model: Any, keras: Any) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=loss, metrics=["accuracy"])
    return model


def fit(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any) -> None:
    """By `to_tf()`, and then by arrays; what each worker has at the end."""
    import os

    keras = keras_of(hparams["kind"])
    compiled(model, keras)
    batches = dataset.train.to_tf(48, drop_last=True).map(lambda features, label: (features, label))
    features, labels = held_out = dataset.validation.to_numpy()
    for epoch in range(1, 4):
        model.fit(batches, epochs=1, verbose=0)
        loss, accuracy = model.evaluate(*held_out, verbose=0)
        reporter.broadcast({"loss": loss, "accuracy": accuracy}, epoch)
    inputs, targets = dataset.train.to_numpy()
    # Each worker shuffles them alike, but otherwise than one worker does.
    arrays = {"x": inputs[:288], "y": targets[:288], "batch_size": 48, "shuffle": False}
    history = model.fit(**arrays, validation_data=held_out, epochs=2, verbose=0).history
    predicted = model.predict(dataset.validation.to_tf(32), verbose=0)
    np.testing.assert_allclose(predicted, np.asarray(model(features)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.predict(features, verbose=0), predicted, rtol=1e-4, atol=1e-5)
    right = float((predicted.argmax(axis=1) == labels).mean())
    weights = [np.asarray(array).astype(float).sum() for array in model.get_weights()]
    rows = [len(label) for _, label in dataset.train.to_tf(48)]
    config = json.loads(os.environ.get("TF_CONFIG", "{}"))
    note(hparams, history=history, right=right, weights=weights, rows=rows, config=config)
    reporter.broadcast({"loss": history["val_loss"][-1], "accuracy": right}, 4)


@pytest.mark.parametrize("kind", ["keras", "keras 2"])
def test_two_workers_train_as_one(dataset: lethe.Dataset, tmp_path: Path, kind: str) -> None:
    # Also after a trial in the same interpreters, of which one or the other is the first then.
    points = [{"kind": kind, "notes": str(tmp_path)}]
    several = Several(metric="loss", direction="min", hparams=points, workers=(2, 1, 2))
    result = run(function(fit, make), dataset, several)
    assert set(result.trials["state"]) == {"finished"}, result.trials["error"].tolist()
    two, one, again = (
        history[["loss", "accuracy"]].to_numpy() for _, history in result.history.groupby("trial")
    )
    assert one[-1, 0] < one[0, 0]
    np.testing.assert_allclose(two, one, rtol=1e-4)
    np.testing.assert_allclose(again, one, rtol=1e-4)
    (alone,), ranks = notes(tmp_path, kind, 1), notes(tmp_path, kind, 2)
    assert alone["config"] == {}
    assert alone["rows"] == [48] * 6 + [1]
    assert [entry["config"]["task"]["index"] for entry in ranks] == [entry["rank"] for entry in ranks]
    trials: dict[str, list[Any]] = {json.dumps(entry["config"]["cluster"]): [] for entry in ranks}
    for entry in ranks:
        trials[json.dumps(entry["config"]["cluster"])].append(entry["weights"])
    assert [len(of) for of in trials.values()] == [2, 2]
    assert all(first == second for first, second in trials.values()), "the same weights on both"
    for entry in ranks:
        assert entry["rows"] == [24] * 6, "as many steps on each, and no batch that one has nothing of"
        np.testing.assert_allclose(entry["weights"], alone["weights"], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(entry["history"]["val_loss"], alone["history"]["val_loss"], rtol=1e-3)
        np.testing.assert_allclose(entry["history"]["loss"], alone["history"]["loss"], rtol=1e-3)


def ends(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any, checkpoint: Any) -> None:
    """Of the second worker something comes in the third epoch."""
    import keras

    compiled(model, keras)
    saved = checkpoint.load() or {"epoch": 0}
    if saved["epoch"]:
        model.set_weights(saved["weights"])
    note(hparams, begin=saved["epoch"])
    mark = Path(hparams["notes"], "killed")
    how = hparams["kind"] if lethe.rank() == 1 else ""

    class Ends(keras.callbacks.Callback):  # type: ignore[misc,unused-ignore]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 2 and how == "killed" and not mark.exists():
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if batch == 2 and how == "raises":
                raise KeyError("what is not there")

    for epoch in range(saved["epoch"] + 1, 4):
        if epoch == 3 and how == "returns":
            return
        batches = dataset.train.to_tf(BATCH, epoch=epoch)
        model.fit(batches, epochs=1, verbose=0, callbacks=[Ends()] if epoch == 3 else [])
        loss, accuracy = model.evaluate(dataset.validation.to_tf(BATCH), verbose=0)
        checkpoint.save({"weights": model.get_weights(), "epoch": epoch})
        reporter.broadcast({"loss": loss, "accuracy": accuracy}, epoch)


def test_ranks_end_together(dataset: lethe.Dataset, tmp_path: Path) -> None:
    """A killed one costs what came after the checkpoint; one that raises or returns ends the trial."""
    ways = ["killed", "raises", "returns", "neither"]
    points = [{"kind": way, "notes": str(tmp_path)} for way in ways]
    space = lethe.SearchSpace(kind=lethe.choice(*ways), notes=lethe.choice(str(tmp_path)))
    search = lethe.Search(
        space, 4, "loss", "min", enqueue=points, workers_per_trial=2, checkpoint_seconds=0.001
    )
    result = run(function(ends, make, epochs=3), dataset, search)
    states, errors = result.trials["state"].tolist(), result.trials["error"].tolist()
    assert states == ["finished", "failed", "failed", "finished"], errors
    # A worker ends with what it has failed in: the next attempt may still have been handed to it.
    attempts = result.trials["attempts"].tolist()
    assert attempts[:2] == [2, 1]
    assert max(attempts) <= 2
    assert sorted(entry["begin"] for entry in notes(tmp_path, "killed")) == [0, 0, 2, 2]
    assert "KeyError: 'what is not there'" in errors[1]
    assert errors[2].startswith("the function returned on worker 1 of 2 while worker 0 waited for it")
    killed, _, _, neither = (history for _, history in result.history.groupby("trial"))
    assert list(killed["epoch"]) == list(neither["epoch"]) == [1, 2, 3], "each once"
    assert killed["loss"].iloc[-1] < killed["loss"].iloc[0]


def listening() -> set[str]:
    """Ports on which this process listens, in hexadecimal."""
    sockets = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            sockets.add(os.readlink(entry))
        except OSError:
            continue
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    return {line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in sockets}


def open_to(dataset: Any, hparams: dict[str, Any]) -> float:
    """Who can reach the workers' ports. Its model is its own."""
    import socket

    import keras

    def reaches(source: str) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5, (source, 0)).close()
        except TimeoutError:
            return False
        return True

    model = compiled(make({"kind": "keras"}, 64), keras)
    model.fit(dataset.train.to_tf(BATCH), epochs=1, verbose=0)
    config = json.loads(os.environ["TF_CONFIG"]) if lethe.world() > 1 else None
    found = {}
    if config is not None:
        port = int(config["cluster"]["worker"][lethe.rank()].rpartition(":")[2])
        found = {source: reaches(source) for source in ("127.0.0.1", "127.0.0.2")}
    weights = [float(np.abs(array).sum()) for array in model.get_weights()]
    note(hparams, found=found, listens=len(listening()), weights=weights)
    return float(model.evaluate(*dataset.validation.to_numpy(), verbose=0)[0])


def test_only_the_trial_s_hosts_reach_its_ports(dataset: lethe.Dataset, tmp_path: Path) -> None:
    points = [{"kind": "ports", "notes": str(tmp_path)}]
    several = Several(metric="loss", direction="min", hparams=points, workers=(2, 1))
    result = run(function(open_to, None), dataset, several)
    assert set(result.trials["state"]) == {"finished"}, result.trials["error"].tolist()
    (alone,), ranks = notes(tmp_path, "ports", 1), notes(tmp_path, "ports", 2)
    assert [entry["found"] for entry in ranks] == [{"127.0.0.1": True, "127.0.0.2": False}] * 2
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert alone["listens"] == 0, "of the trial before nothing listens any more"


def test_without_the_strategy_its_remedy_is_named(dataset: lethe.Dataset, tmp_path: Path) -> None:
    several = Several(metric="loss", direction="min", hparams=[{"kind": "keras"}], workers=(2,))
    plain = lethe.Function(fit, make, environment={**QUIET, "KERAS_BACKEND": "tensorflow"})
    (error,) = run(plain, dataset, several).trials["error"]
    assert 'lethe.Function(…, strategy="multi_worker_mirrored")' in error


def maggy_fit(model: Any, train_set: Any, test_set: Any, hparams: dict[str, Any], reporter: Any) -> float:
    """A function of Maggy's."""
    import keras

    made = compiled(model(hparams["classes"]), keras)
    made.fit(train_set.to_tf(BATCH, drop_last=True), epochs=1, verbose=0)
    return float(made.evaluate(test_set.to_tf(BATCH), verbose=0)[0])


def maggy_model(classes: int) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(classes)])


def test_maggy_s_distributed_training(dataset: lethe.Dataset) -> None:
    from lethe.maggy import experiment
    from lethe.maggy.config import TfDistributedConfig

    values = []
    for workers in (1, 2):
        config = TfDistributedConfig(maggy_model, dataset, hparams={"classes": 10}, workers=workers)
        result = experiment.lagom(maggy_fit, config, spark=False, quiet=True, slots=workers)
        values.append(result["test result"])
    assert values[1] == pytest.approx(values[0], rel=1e-4)
