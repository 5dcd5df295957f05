"""What a function on several workers finds set up: the store, groups, devices, data; and contexts that take
several workers."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from gangs import Several, make, note, notes
from torch import nn

import lethe

os.environ.setdefault("KERAS_BACKEND", "torch")

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    small = digits.slice(0, 301)
    return lethe.Dataset.from_arrow(small, features="pixels", label="digit").split(validation=0.2, seed=3)


def run(train: Any, dataset: lethe.Dataset | None, what: Any, **options: Any) -> lethe.Result:
    return lethe.lagom(train, dataset, what, **{"spark": False, "quiet": True, "slots": 2, **options})


def listening() -> set[str]:
    """Addresses on which this process listens."""
    inodes = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].partition(":")[0])
    return found


def look(model: Any, dataset: Any, hparams: dict[str, Any]) -> float:
    """What is there, seen from each worker; the store, as torch uses it."""
    import datetime

    import torch.distributed as dist

    assert type(model) is nn.Sequential
    before = torch.nn.Linear(2, 2).weight.sum().item()
    found: dict[str, Any] = {
        "drawn": before,
        "initialized": dist.is_initialized(),
        "addresses": sorted(listening()),
    }
    if dist.is_initialized():
        store = dist.distributed_c10d._get_default_store()
        rank = dist.get_rank()
        assert (rank, dist.get_world_size()) == (lethe.rank(), lethe.world())
        assert dist.get_backend() == ("gloo" if not torch.cuda.is_available() else dist.get_backend())
        store.set(f"key-{rank}", f"value-{rank}")
        found["others"] = store.get(f"key-{1 - rank}").decode()
        store.wait([f"key-{1 - rank}"], datetime.timedelta(seconds=5))
        store.add("sum", rank + 1)
        dist.barrier()
        found["sum"] = store.add("sum", 0)
        found["there"] = [store.check(["key-0", "key-1"]), store.check(["key-0", "key-2"])]
        dist.barrier()
        if rank == 0:
            found["deleted"] = [store.delete_key("key-1"), store.delete_key("key-1")]
        try:
            store.wait(["never"], datetime.timedelta(seconds=0.2))
        except RuntimeError as error:
            found["late"] = str(error)
    # Whole on each worker, but for the batches that train.
    found["rows"] = [
        [
            sum(len(batch["label"]) for batch in part.batches(32))
            for part in (dataset.train, dataset.validation)
        ],
        [len(part.to_torch()[1]) for part in (dataset.train, dataset.validation)],
    ]
    note(hparams, **found)
    return float(lethe.rank() + 1)


def test_workers_find_each_other_and_leave_nothing(dataset: lethe.Dataset, tmp_path: Path) -> None:
    points = [{"kind": "plain", "notes": str(tmp_path)}]
    several = Several(metric="value", direction="max", hparams=points, workers=(2, 1))
    result = run(lethe.Function(look, make), dataset, several)
    assert result.trials["state"].tolist() == ["finished"] * 2, result.trials["error"].tolist()
    assert result.trials["value"].tolist() == [1.0, 1.0], "rank 0's"
    (alone,) = notes(tmp_path, "plain", 1)
    ranks = sorted(notes(tmp_path, "plain", 2), key=lambda entry: entry["rank"])
    assert [entry["initialized"] for entry in (alone, *ranks)] == [False, True, True]
    assert alone["addresses"] == [], "of the trial before nothing listens any more"
    # 127.0.0.1, as /proc writes it.
    assert [entry["addresses"] for entry in ranks] == [["0100007F"]] * 2
    assert [entry["others"] for entry in ranks] == ["value-1", "value-0"]
    assert [entry["sum"] for entry in ranks] == [3, 3]
    assert [entry["there"] for entry in ranks] == [[True, False]] * 2
    assert ranks[0]["deleted"] == [True, False]
    assert all("never" in entry["late"] for entry in ranks)
    assert ranks[0]["drawn"] == alone["drawn"], "rank 0 draws as one worker"
    assert ranks[0]["drawn"] != ranks[1]["drawn"]
    batches = [entry["rows"][0] for entry in ranks]
    assert batches[0][0] + batches[1][0] == 241
    assert batches[0][1] == batches[1][1] == 60
    assert ranks[0]["rows"][1] == ranks[1]["rows"][1] == alone["rows"][1] == [241, 60]


def own(dataset: Any, hparams: dict[str, Any], reporter: Any) -> None:
    """Makes its model itself."""
    torch.manual_seed(3)
    model = lethe.parallel(nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for epoch in range(1, 4):
        for batch in dataset.train.batches(32, epoch=epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch["features"]), batch["label"]).backward()
            optimizer.step()
        features, labels = dataset.validation.to_torch()
        with torch.no_grad():
            reporter.broadcast(nn.functional.cross_entropy(model(features), labels), epoch)
    print("world", lethe.world())


def test_as_many_workers_as_there_are(dataset: lethe.Dataset) -> None:
    """On two slots, of one to three workers; the model is the function's own."""
    elastic = run(own, dataset, lethe.Distributed(workers=(1, 3), metric="loss", direction="min"))
    assert Path(elastic.directory, "logs", "trial-0.log").read_text() == "world 2\n", "and one of them speaks"
    alone = run(own, dataset, lethe.Distributed(metric="loss", direction="min"), slots=1)
    np.testing.assert_allclose(elastic.history["loss"], alone.history["loss"], rtol=1e-5)


def maggy_fit(module: Any, train_set: Any, test_set: Any, hparams: dict[str, Any], reporter: Any) -> float:
    """A function of Maggy's."""
    torch.manual_seed(3)
    model = module(64, hparams["classes"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(1, 4):
        for batch in train_set.batches(32, epoch=epoch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch["features"]), batch["label"]).backward()
            optimizer.step()
    features, labels = test_set.to_torch()
    with torch.no_grad():
        return float(nn.functional.cross_entropy(model(features), labels))


def test_maggy_s_distributed_training(dataset: lethe.Dataset) -> None:
    from lethe.maggy import experiment
    from lethe.maggy.config import TorchDistributedConfig

    hparams = {"classes": 10}
    values = []
    for workers in (1, 2):
        config = TorchDistributedConfig(nn.Linear, dataset, hparams, workers=workers)
        result = experiment.lagom(maggy_fit, config, spark=False, quiet=True, slots=workers)
        values.append(result["test result"])
    assert values[1] == pytest.approx(values[0], rel=1e-5)


def coarse(model: Any, dataset: Any, reporter: Any) -> None:
    seen = []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    batch = next(dataset.train.batches(32))
    output = model(batch["features"])
    assert (seen, output.dtype) == ([torch.bfloat16], torch.float32)
    nn.functional.cross_entropy(output, batch["label"]).backward()
    assert model[0].weight.grad.dtype == torch.float32
    reporter.broadcast(output.abs().sum(), 1)


def test_bfloat16_on_one_worker_and_on_two(dataset: lethe.Dataset) -> None:
    several = Several(metric="value", direction="max", hparams=[{"kind": "plain"}], workers=(1, 2))
    result = run(lethe.Function(coarse, make, precision="bfloat16"), dataset, several)
    assert set(result.trials["state"]) == {"finished"}, result.trials["error"].tolist()


def keras_model(inputs: int) -> Any:
    import keras

    return keras.Sequential(
        [keras.Input((inputs,)), keras.layers.Dense(16, activation="tanh"), keras.layers.Dense(10)]
    )


def keras_fit(model: Any, dataset: Any, hparams: dict[str, Any], reporter: Any) -> None:
    import keras

    class Pairs:
        def __iter__(self) -> Any:
            self.epoch = getattr(self, "epoch", 0) + 1
            for batch in dataset.train.batches(48, epoch=self.epoch):
                yield batch["features"], batch["label"]

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=loss)
    features, labels = dataset.validation.to_numpy()
    pairs = Pairs()
    for epoch in range(1, 4):
        model.fit(iter(pairs), epochs=1, verbose=0)
        reporter.broadcast(model.evaluate(features, labels, verbose=0), epoch)
    kernel = model.layers[0].kernel.value.detach().double().abs()
    note(hparams, kernel=float(kernel.sum()))


def test_keras_trains_as_one(dataset: lethe.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras is not installed")
    points = [{"kind": "keras", "notes": str(tmp_path)}]
    # Also after a trial in the same interpreters, of which one or the other is the first then.
    several = Several(metric="loss", direction="min", hparams=points, workers=(2, 1, 2))
    function = lethe.Function(keras_fit, keras_model, environment={"KERAS_BACKEND": "torch"})
    result = run(function, dataset, several)
    assert set(result.trials["state"]) == {"finished"}, result.trials["error"].tolist()
    two, one, again = (history["loss"].to_numpy() for _, history in result.history.groupby("trial"))
    assert one[-1] < one[0]
    np.testing.assert_allclose(two, one, rtol=1e-4)
    assert again.tolist() == two.tolist()
    kernels = {entry["kernel"] for entry in notes(tmp_path, "keras", 2)}
    assert len(kernels) == 1, "the same weights on both"
