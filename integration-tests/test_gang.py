"""Several native workers train one model: the same function, on two and three slots."""

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from conftest import lethe_processes, wait_for
from programs import CLASSIC, Program, spark_home, training_now
from searches import accuracy, mlp, search, training

import lethe
from lethe.process import binary

pytestmark = pytest.mark.usefixtures("no_process_left")

HPARAMS = {"lr": 0.05, "width": 24, "dropout": 0.0}


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    # 1,438 rows train: neither they nor the batches divide by 3.
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


def distributed(workers: Any, **changes: Any) -> lethe.Distributed:
    given: dict[str, Any] = {"hparams": HPARAMS, "metric": "accuracy", "seed": 5, **changes}
    return lethe.Distributed(workers=workers, **given)


def run(train: lethe.Supervised, dataset: lethe.Dataset, context: Any, **options: Any) -> lethe.Result:
    return lethe.lagom(train, dataset, context, **{"spark": False, "quiet": True, **options})


def history(result: lethe.Result) -> Any:
    return result.history.drop(columns="trial")


def test_workers_have_the_curve_of_one(dataset: lethe.Dataset) -> None:
    """SGD without dropout, more than 100 steps: each metric of each epoch to 1e-5."""
    train = training(epochs=5, batch_size=50, optimizer="sgd", metrics=["accuracy"])
    alone = history(run(train, dataset, lethe.Single(hparams=HPARAMS, metric="accuracy", seed=5)))
    for workers in (1, 2, 3):
        result = run(train, dataset, distributed(workers), slots=workers)
        found = history(result)
        assert list(result.slots["trials"]) == [1] * workers
        if workers == 1:
            assert found.equals(alone), "to the bit"
        else:
            for metric in ("loss", "train_loss", "accuracy"):
                assert ((found[metric] - alone[metric]).abs() <= 1e-5 * alone[metric].abs()).all(), metric


def test_a_rerun_is_the_same_to_the_bit(dataset: lethe.Dataset) -> None:
    """Each rank drops other units, and the same ones again."""
    train = training(epochs=3)
    context = distributed(2, hparams={**HPARAMS, "dropout": 0.3, "lr": 0.005})
    first, second = (run(train, dataset, context, slots=2) for _ in range(2))
    assert history(first).equals(history(second))
    weights, others = first.best_model().state_dict(), second.best_model().state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@contextmanager
def a_rank_is_killed(first: Callable[[], Any] = lambda: None) -> Iterator[None]:
    """While both train. first: what is done before."""
    before, killed, over = lethe_processes(), list[int](), threading.Event()

    def kill() -> None:
        wait_for(lambda: over.is_set() or len(training_now(before)) >= 2, 60)
        for trainer in sorted(training_now(before))[-1:]:
            first()
            killed.append(trainer)
            os.kill(trainer, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert killed


def check_it_went_on(result: lethe.Result) -> None:
    assert list(result.trials["state"]) == ["finished"]
    assert list(result.trials["attempts"]) == [2]
    assert list(result.history["epoch"]) == list(range(1, 151)), "each epoch is reported once"
    # The second attempt went on from a checkpoint: it did not begin with the first epoch.
    again = result.sql("select attempt, min(epoch) as first from metrics group by attempt order by attempt")
    assert list(again["attempt"]) == [1, 2]
    assert again["first"][1] > 1


@pytest.mark.parametrize(
    ("workers", "order"), [(2, "global"), ((1, 2), "local")], ids=["fixed", "elastic, rows of its own"]
)
def test_a_killed_rank_costs_what_came_after_the_checkpoint(
    dataset: lethe.Dataset, workers: Any, order: str
) -> None:
    hparams = {**HPARAMS, "lr": 0.005}
    context = distributed(workers, hparams=hparams, checkpoint_seconds=0.0, order=order)
    with a_rank_is_killed():
        result = run(training(epochs=150), dataset, context, slots=2, name=f"killed-{workers != 2}")
    check_it_went_on(result)


def test_a_gang_goes_on_with_the_slots_that_remain(dataset: lethe.Dataset, tmp_path: Path) -> None:
    """The slot of the killed rank gets no other trainer, and leaves."""
    gone, program = tmp_path / "gone", tmp_path / "trainer"
    program.write_text(f'#!/bin/sh\n[ ! -e "{gone}" ] || exit 3\nexec "{binary("lethe-trainer")}" "$@"\n')
    program.chmod(0o700)
    hparams = {**HPARAMS, "lr": 0.005}
    context = distributed((1, 2), hparams=hparams, checkpoint_seconds=0.0)
    lethe.shutdown()
    try:
        with a_rank_is_killed(gone.touch):
            settings = lethe.Settings(trainer=str(program))
            result = run(training(epochs=150), dataset, context, slots=2, settings=settings)
    finally:
        lethe.shutdown()
    check_it_went_on(result)
    assigned = result.sql("select text from events where kind = 'assigned' order by sequence")["text"]
    *together, alone = assigned
    assert [text.split(", ")[1] for text in together] == ["as rank 0 of 2", "as rank 1 of 2"]
    assert alone.startswith("from its checkpoint after epoch ")
    assert "rank" not in alone


def test_a_search_of_gangs_and_then_the_best_on_all_slots(dataset: lethe.Dataset) -> None:
    """The paper's last step."""
    train = training(epochs=4)
    found = run(
        train,
        dataset,
        search(5, workers_per_trial=2, stopping=lethe.ASHA(reduction=2), checkpoint_seconds=0.0),
        slots=4,
    )
    assert set(found.trials["state"]) <= {"finished", "stopped"}
    assert len(found.trials) == 5
    assigned = found.sql("select text from events where kind = 'assigned'")["text"]
    assert {text.split(", ")[1] for text in assigned} == {"as rank 0 of 2", "as rank 1 of 2"}
    assert found.best is not None
    best = run(train, dataset, distributed(3, hparams=found.best.hparams), slots=3)
    assert best.best is not None
    assert best.best.value > 0.85
    # The model is the one that was validated.
    assert accuracy(best.best_model(), dataset.validation) == pytest.approx(best.best.value)


def test_an_ablation_whose_trials_are_gangs(dataset: lethe.Dataset) -> None:
    context = lethe.Ablation(
        metric="accuracy", direction="max", base=HPARAMS, hparams={"width": 8}, workers_per_trial=2
    )
    result = run(training(epochs=2), dataset, context, slots=2)
    assert list(result.trials["state"]) == ["finished"] * 2
    assert list(result.slots["trials"]) == [2, 2]


def test_batch_norm_and_precision_are_asked_for_by_name(dataset: lethe.Dataset) -> None:
    def normed(hparams: dict[str, Any], inputs: int) -> torch.nn.Module:
        return torch.nn.Sequential(mlp(hparams, inputs), torch.nn.BatchNorm1d(10))

    train = training(
        model=normed, epochs=3, batch_size=60, optimizer="sgd", sync_batch_norm=True, accumulate=1
    )
    alone = history(run(train, dataset, lethe.Single(hparams=HPARAMS, metric="accuracy", seed=5)))
    together = history(run(train, dataset, distributed(2), slots=2))
    assert ((together["loss"] - alone["loss"]).abs() <= 1e-4 * alone["loss"]).all()
    mixed = run(training(epochs=3, precision="bfloat16", accumulate=2), dataset, distributed(2), slots=2)
    assert mixed.best is not None
    assert mixed.best.value > 0.8


def test_a_loss_that_is_nan_on_one_rank_fails_the_trial_with_its_step(dataset: lethe.Dataset) -> None:
    result = run(training(epochs=3), dataset, distributed(2, hparams={**HPARAMS, "lr": 1e30}), slots=2)
    (error,) = result.trials["error"]
    assert error.startswith("the loss is"), error
    assert "lower lr" in error


def test_ranks_on_two_spark_executors(tmp_path: Path) -> None:
    """Each in a process of its own that holds its rows, and then all of them; the driver's store brings them
    together."""
    home = tmp_path / "spark"
    home.mkdir()
    run_there = """
        settings = lethe.Settings(copies=1)
        # One step an epoch, so that it does not matter whose rows come together.
        train = training(epochs=3, batch_size=1500, optimizer="sgd", metrics=["accuracy"])
        context = {"metric": "accuracy", "seed": 5, "hparams": {"lr": 0.5}}
        local = lethe.lagom(train, dataset, lethe.Distributed(workers=2, order="local", **context),
            settings=settings)
        single = lethe.lagom(train, dataset, lethe.Single(**context), quiet=True)
        columns = ["loss", "train_loss", "accuracy"]
        say(errors=list(local.trials["error"]), executors=len(set(local.slots["executor"])),
            local=local.history[columns].values.tolist(), alone=single.history[columns].values.tolist())
        train = training(epochs=4, batch_size=64)
        context["hparams"] = {"lr": 0.005}
        result = lethe.lagom(train, dataset, lethe.Distributed(workers=2, **context), quiet=True)
        single = lethe.lagom(train, dataset, lethe.Single(**context), quiet=True)
        say(executors=len(set(result.slots["executor"])), errors=list(result.trials["error"]),
            loss=list(result.history["loss"]), alone=list(single.history["loss"]))
        spark.stop()
    """
    conf = {"spark.executor.memory": "1g", "spark.cores.max": "2"}
    given = {"environment": spark_home(home), "master": "local-cluster[2,1,1024]", "conf": conf}
    with Program(CLASSIC, run_there, **given) as program:
        local = program.says()
        printed = "".join(program.output)
        said = program.says()
    assert local["errors"] == [None], json.dumps(local)
    assert local["executors"] == 2
    # Of three partitions one executor has put two, or all.
    told = re.search(r"each of 2 workers trains on rows that lie with it; (\S+) of 0.5 MB move", printed)
    assert told, printed
    assert told.group(1) in ("0.1", "0.2")
    for found, expected in zip(local["local"], local["alone"], strict=True):
        assert found == pytest.approx(expected, rel=1e-5)
    assert said["errors"] == [None], json.dumps(said)
    assert said["executors"] == 2
    assert said["loss"] == pytest.approx(said["alone"], rel=1e-4)
