"""A trial that pauses, gives its slot away and goes on elsewhere ends as one that ran through, to the bit."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from frames import frame_of
from searches import search, training
from torch import nn

import lethe

EPOCHS = 9


def network(hparams: dict[str, Any], inputs: int) -> nn.Module:
    """With all that a checkpoint has to hold beside the weights: buffers and random draws."""
    width = hparams["width"]
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(0.1 + hparams["dropout"]),
        nn.Linear(width, 10),
    )


TRAIN = training(model=network, epochs=EPOCHS, optimizer="adam", schedule="one_cycle")


def searched(dataset: lethe.Dataset, trials: int, **how: Any) -> lethe.Result:
    """The search that paused: once with pauses, on two slots, and once without.

    Which slot takes up a paused trial is a race between the two, and none moves where the second came late:
    such a search shows nothing and is done again.
    """
    through = lethe.lagom(TRAIN, dataset, search(trials), slots=2, quiet=True, **how)
    for _ in range(5):
        stopping = lethe.ASHA(reduction=3)
        paused = lethe.lagom(TRAIN, dataset, search(trials, stopping=stopping), slots=2, quiet=True, **how)
        same_as_through(paused, through)
        if moved(paused):
            return paused
    raise AssertionError("no trial of five searches went on in another slot")


def same_as_through(paused: lethe.Result, through: lethe.Result) -> None:
    assert set(through.trials["epochs"]) == {EPOCHS}
    assert (paused.trials["attempts"] > 1).any(), "paused, and went on"
    assert (paused.trials["state"] == "finished").any()
    assert (paused.trials["state"] == "stopped").any()
    whole = through.history.set_index(["trial", "epoch"])
    parts = paused.history.set_index(["trial", "epoch"])
    assert parts.index.is_unique, "no epoch twice"
    pd.testing.assert_frame_equal(parts, whole.loc[parts.index], check_exact=True)


def moved(result: lethe.Result) -> int:
    """Trials whose attempts had several slots."""
    found = result.sql(
        "select trial from events where kind = 'assigned' group by trial having count(distinct slot) > 1"
    )
    return len(found)


@pytest.fixture
def local(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)


@pytest.mark.usefixtures("no_process_left")
def test_a_promoted_trial_ends_as_if_it_had_not_paused(local: lethe.Dataset) -> None:
    paused = searched(local, 40, spark=False)
    assert paused.best is not None
    # The weights of one trial are kept: here it is the same, since those before it learn nothing.
    trial = paused.best.trial
    idle = {**paused.best.hparams, "lr": 1e-9}
    space = lethe.SearchSpace(
        lr=lethe.loguniform(1e-9, 1e-2), width=lethe.integer(16, 64), dropout=lethe.uniform(0.0, 0.3)
    )
    given = [idle] * trial + [paused.best.hparams]
    alone = lethe.lagom(
        TRAIN, local, search(trial + 1, space=space, enqueue=given), spark=False, slots=2, quiet=True
    )
    assert alone.best is not None
    assert (alone.best.trial, alone.best.value) == (trial, paused.best.value)
    one, other = paused.best_model().state_dict(), alone.best_model().state_dict()
    assert {"1.running_mean", "1.running_var", "1.num_batches_tracked"} <= one.keys()
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_on_spark(spark: Any, digits: pa.Table) -> None:
    frame = frame_of(spark, digits).repartition(3)
    dataset = lethe.Dataset.from_spark(frame, features="pixels", label="digit").split(validation=0.2, seed=7)
    searched(dataset, 40)
