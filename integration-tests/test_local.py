"""Searches on the local executor, without Spark, from the Arrow table to the best model."""

import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import lethe_processes, wait_for
from programs import executable
from searches import accuracy, mlp, search, training
from torch import nn

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


def run(train: lethe.Supervised, dataset: lethe.Dataset, what: lethe.Search, **options: Any) -> lethe.Result:
    return lethe.lagom(train, dataset, what, **{"spark": False, "quiet": True, "slots": 2, **options})


def test_a_search_finds_a_model_that_pytorch_scores_the_same(dataset: lethe.Dataset) -> None:
    result = run(training(epochs=9), dataset, search(8, stopping=lethe.ASHA(reduction=3)))
    assert len(result.trials) == 8
    assert set(result.trials["state"]) <= {"finished", "stopped"}
    assert result.best is not None
    assert result.best.value == result.trials["value"].max() > 0.9
    assert accuracy(result.best_model(), dataset.validation) == pytest.approx(result.best.value, abs=1e-9)
    assert result.best_model_path is not None
    loaded = torch.jit.load(result.best_model_path)
    assert accuracy(loaded, dataset.validation) == pytest.approx(result.best.value, abs=1e-9)
    assert 0 < (result.training_share or 0) <= 1
    assert not result.interrupted


def test_a_rerun_on_one_slot_gives_the_same_bits(dataset: lethe.Dataset) -> None:
    first, second = (run(training(), dataset, search(3), slots=1) for _ in range(2))
    assert first.history.equals(second.history)
    for one, other in zip(
        first.best_model().state_dict().values(), second.best_model().state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)


def test_rows_of_a_split_are_the_table_s(dataset: lethe.Dataset, digits: pa.Table) -> None:
    train, validation = dataset.train.to_numpy(), dataset.validation.to_numpy()
    assert train[0].shape == (1438, 64)
    assert validation[0].shape == (359, 64)
    assert train[0].dtype == np.float32
    together = np.concatenate([train[0], validation[0]])
    original = np.stack(digits.column("pixels").to_numpy())
    assert np.array_equal(together[np.lexsort(together.T)], original[np.lexsort(original.T)])
    table = dataset.validation.to_arrow()
    features = table.schema.field("features").type
    assert (features.value_type, features.list_size) == (pa.float32(), 64)
    assert table.schema.field("label").type == pa.int64()


def test_an_exception_in_the_generator_fails_its_trial_only(dataset: lethe.Dataset) -> None:
    def sometimes(hparams: dict[str, Any], inputs: int) -> nn.Module:
        if hparams["broken"] == 0:
            raise KeyError("no such width")
        return mlp(hparams, inputs)

    space = lethe.SearchSpace(broken=lethe.integer(0, 2))
    result = run(training(model=sometimes, epochs=1), dataset, search(8, space=space))
    failed = result.trials[result.trials["state"] == "failed"]
    assert 0 < len(failed) < 8
    first, *rest = str(failed["error"].iloc[0]).splitlines()
    assert first == "the model generator raised KeyError: 'no such width'"
    assert "test_local.py" in "".join(rest)
    assert result.best is not None


def test_a_nan_loss_fails_the_trial_and_says_at_which_step(dataset: lethe.Dataset) -> None:
    space = lethe.SearchSpace(lr=lethe.choice(1e-3, 1e30), optimizer=lethe.choice("sgd"))
    result = run(training(epochs=2), dataset, search(8, space=space))
    failed = result.trials[result.trials["state"] == "failed"]
    assert 0 < len(failed) < 8
    assert set(failed["lr"]) == {1e30}
    assert all(re.search(r"step \d+", error) for error in failed["error"])


class Unscriptable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(x))


def test_a_module_that_cannot_be_scripted_is_an_error_before_any_trial(dataset: lethe.Dataset) -> None:
    with pytest.raises(lethe.ModelError, match=r"test_local\.py:\d+: the model cannot be scripted"):
        run(training(model=lambda hparams: Unscriptable()), dataset, search(2))
    assert not list(Path("lethe-runs").iterdir())


def test_zero_rows_are_an_error(digits: pa.Table) -> None:
    empty = lethe.Dataset.from_arrow(digits.slice(0, 0), features="pixels", label="digit")
    with pytest.raises(lethe.DataError, match="zero rows"):
        run(training(metrics=[]), empty, search(1, metric="train_loss", direction="min"))


SEARCH = """
    import sys
    sys.path[:0] = {path!r}
    from sklearn.datasets import load_digits
    import pyarrow as pa
    import lethe
    from searches import search, training

    images, labels = load_digits(return_X_y=True)
    table = pa.table({{"pixels": pa.array(list(images.astype("float32"))), "digit": labels}})
    dataset = lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(validation=0.2)
    result = lethe.lagom(training(epochs=100000), dataset, search(4), spark=False, slots=2)
    print("INTERRUPTED", result.interrupted, len(result.trials), flush=True)
"""


@pytest.fixture
def running_search() -> Any:
    """A search in a process of its own that would run for hours; its pid and those of its processes."""
    before = lethe_processes()
    program = textwrap.dedent(SEARCH.format(path=[str(Path(__file__).parent)]))
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    # A driver, an executor and two trainers.
    assert wait_for(lambda: len(lethe_processes() - before) >= 4, 60), child.kill()
    yield child, before
    child.kill()
    child.wait()


def test_ctrl_c_returns_what_there_is_and_leaves_no_process(running_search: Any) -> None:
    child, before = running_search
    child.send_signal(signal.SIGINT)
    output, _ = child.communicate(timeout=30)
    assert "INTERRUPTED True" in output
    assert "interrupted (Ctrl-C)" in output
    assert wait_for(lambda: lethe_processes() <= before, 10)


def test_sigterm_ends_the_process_with_its_status(running_search: Any) -> None:
    child, before = running_search
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=30)
    assert child.returncode == 143
    assert "INTERRUPTED" not in output
    assert wait_for(lambda: lethe_processes() <= before, 10)


def test_a_killed_python_leaves_no_process(running_search: Any) -> None:
    child, before = running_search
    os.kill(child.pid, signal.SIGKILL)
    assert wait_for(lambda: lethe_processes() <= before, 10)


def test_a_put_that_was_broken_off_is_not_taken_for_the_dataset(
    digits: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its executor has seen a clean end: without a new name, half a partition would be trained on."""
    from lethe.dataset import put

    whole = put.put_partition

    def broken_off(*arguments: Any) -> Any:
        *first, batches = arguments

        def half() -> Any:
            for batch in batches:
                yield batch.slice(0, batch.num_rows // 2)
                raise KeyboardInterrupt

        return whole(*first, half())

    data = lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)
    monkeypatch.setattr(put, "put_partition", broken_off)
    with pytest.raises(KeyboardInterrupt):
        data.train.to_arrow()
    monkeypatch.setattr(put, "put_partition", whole)
    assert data.train.to_arrow().num_rows + data.validation.to_arrow().num_rows == digits.num_rows


def test_an_exit_in_the_generator_ends_the_experiment_at_once(dataset: lethe.Dataset) -> None:
    calls = []

    def leaving(hparams: dict[str, Any], inputs: int) -> nn.Module:
        calls.append(1)
        if len(calls) > 3:
            sys.exit(5)
        return mlp(hparams, inputs)

    def trainers() -> set[int]:
        return {pid for pid in lethe_processes() if executable(pid) == "lethe-trainer"}

    before = trainers()
    with pytest.raises(SystemExit):
        run(training(model=leaving, epochs=100000), dataset, search(8))
    assert wait_for(lambda: trainers() <= before, 10), "a trainer trains on without its experiment"


class OwnSteps(nn.Module):
    """Owns its loss and its metrics."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)

    def training_step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(self.forward(batch["features"]), batch["label"])

    def validation_step(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        right = self.forward(batch["features"]).argmax(1) == batch["label"]
        return {"hits": right.float().mean()}


def test_a_module_s_own_steps_and_the_best_moment_s_weights(dataset: lethe.Dataset) -> None:
    """`select="best"`: value, metrics and weights are those of one moment, which need not be the last."""
    train = training(model=OwnSteps, loss=None, metrics=[], epochs=12)
    space = lethe.SearchSpace(lr=lethe.loguniform(0.1, 0.5))
    result = run(train, dataset, search(4, space=space, metric="hits", select="best"))
    assert result.best is not None
    history = result.history[result.history["trial"] == result.best.trial]
    assert result.best.value == history["hits"].max()
    assert accuracy(result.best_model(), dataset.validation) == pytest.approx(result.best.value, abs=1e-6)
