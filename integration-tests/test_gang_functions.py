"""Python functions on several workers, without Spark: gradients, rows, ends and losses of ranks."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from gangs import BATCH, Several, curious, descend, make, notes, plain, resumed, sharded, with_hparams
from torch import nn

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")
#: The last batch has a single row: ranks are left without any.
ROWS = 6 * BATCH + 1


@pytest.fixture
def dataset(digits: pa.Table) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(digits.slice(0, ROWS), features="pixels", label="digit")


def run(train: Any, dataset: lethe.Dataset | None, what: Any, **options: Any) -> lethe.Result:
    return lethe.lagom(train, dataset, what, **{"spark": False, "quiet": True, "slots": 2, **options})


def test_ranks_train_as_one(dataset: lethe.Dataset, tmp_path: Path) -> None:
    """100 steps, on rows that do not divide evenly, through the model's forward and around it."""
    kinds = {"plain": 15, "parts": 3}
    points = [
        {"kind": kind, "epochs": epochs, "batch": BATCH, "notes": str(tmp_path)}
        for kind, epochs in kinds.items()
    ]
    several = Several(metric="loss", direction="min", hparams=points)
    result = run(lethe.Function(descend, make), dataset, several, slots=3)
    assert set(result.trials["state"]) == {"finished"}, result.trials["error"].tolist()
    for kind, epochs in kinds.items():
        alone: list[float] = []
        for workers in (1, 2, 3):
            told = notes(tmp_path, kind, workers)
            assert {entry["world"] for entry in told} == {workers}
            losses = [loss for entry in told if entry["rank"] == 0 for loss in entry["losses"]]
            assert len(losses) == epochs * 7
            assert losses[-1] < losses[0]
            alone = alone or losses
            np.testing.assert_allclose(losses, alone, rtol=1e-5)
            for epoch in range(1, epochs + 1):
                ranks = [entry for entry in told if entry["epoch"] == epoch]
                assert sorted(entry["rank"] for entry in ranks) == list(range(workers))
                assert len({entry["weights"] for entry in ranks}) == 1, (kind, workers, epoch)
                assert {len(entry["seen"]) for entry in ranks} == {7}, "as many steps on each rank"
                # The last batch has one row, and ranks without it get another that counts nothing.
                whole = [rows for entry in ranks for step in entry["seen"][:6] for rows in step]
                assert max(Counter(whole).values()) == 1
                assert len(whole) == ROWS - 1
                sizes = [[len(entry["seen"][step]) for entry in ranks] for step in range(6)]
                assert all(max(step) - min(step) <= 1 for step in sizes)
    best = result.best_model()
    assert isinstance(best, nn.Module)


def test_ranks_of_rows_of_their_own_see_each_once(dataset: lethe.Dataset, tmp_path: Path) -> None:
    hparams = {"kind": "plain", "epochs": 2, "batch": BATCH, "notes": str(tmp_path)}
    own = lethe.Distributed(hparams=hparams, workers=3, order="local", metric="loss", direction="min")
    result = run(lethe.Function(descend, make), dataset, own, slots=3)
    assert list(result.trials["state"]) == ["finished"], result.trials["error"].tolist()
    told = notes(tmp_path, "plain")
    for epoch in (1, 2):
        ranks = [entry for entry in told if entry["epoch"] == epoch]
        assert sorted(entry["rank"] for entry in ranks) == [0, 1, 2]
        assert len({entry["weights"] for entry in ranks}) == 1
        assert {len(entry["seen"]) for entry in ranks} == {7}, "as many steps on each rank"
        rows = Counter(row for entry in ranks for step in entry["seen"] for row in step)
        assert (len(rows), max(rows.values())) == (ROWS, 1), "each row once"
    first, second = ({row for step in entry["seen"] for row in step} for entry in told[:2])
    assert first == second, "those of an epoch are those of the next"
    split = dataset.split(validation=0.2, seed=1)
    with pytest.raises(lethe.LetheError, match="computes its metrics from all of them"):
        run(lethe.Function(descend, make), split, own, slots=3)


def test_a_sharded_model_trains_as_a_whole_one(dataset: lethe.Dataset, tmp_path: Path) -> None:
    points = [{"kind": "plain", "notes": str(tmp_path)}]
    several = Several(metric="loss", direction="min", hparams=points, workers=(1, 2), select="best")
    function = lethe.Function(sharded, make, sharding="full", epochs=4)
    result = run(function, dataset, several)
    assert set(result.trials["state"]) == {"finished"}, result.trials["error"].tolist()
    one, two = (history["loss"].to_numpy() for _, history in result.history.groupby("trial"))
    np.testing.assert_allclose(two, one, rtol=1e-5)
    told = notes(tmp_path, "plain", 2)
    assert [entry["local"][0] for entry in told] == [[8, 64], [8, 64]], "each has half of the first layer"
    best = result.best
    assert best is not None
    features, labels = dataset.train.to_torch()
    value = float(nn.functional.cross_entropy(result.best_model()(features), labels))
    assert value == pytest.approx(best.value, rel=1e-5)


@pytest.mark.parametrize("sharding", [None, "full"])
def test_a_killed_rank_costs_what_came_after_the_checkpoint(
    dataset: lethe.Dataset, tmp_path: Path, sharding: str | None
) -> None:
    """Two trials pause and go on from there; of one of them a rank is killed then."""

    def search(kill: bool, **changes: Any) -> lethe.Search:
        space = lethe.SearchSpace(kill=lethe.choice(True, False))
        return lethe.Search(space, 2, "loss", "min", enqueue=[{"kill": kill}] * 2, **changes)

    function = lethe.Function(with_hparams(resumed, notes=str(tmp_path)), plain, sharding=sharding, epochs=4)
    halving = lethe.ASHA(reduction=2, min_epochs=2)
    result = run(function, dataset, search(True, stopping=halving, workers_per_trial=2))
    assert set(result.trials["state"]) == {"finished"}, result.trials["error"].tolist()
    notices = result.sql("select text from events where kind = 'notice'")["text"].tolist()
    assert sum("is run again from epoch 2 (attempt 3)" in text for text in notices) == 1, notices
    begins = Counter(entry["begin"] for entry in notes(tmp_path, "plain"))
    assert begins == {0: 4, 2: 6}, "two ranks of each of two trials, and two again"
    alone = run(function, dataset, search(False), slots=1)
    columns = ["trial", "epoch", "loss"]
    found, expected = (one.history.sort_values(columns[:2])[columns] for one in (result, alone))
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=1e-5)


def test_ranks_end_together(dataset: lethe.Dataset, tmp_path: Path) -> None:
    """At a rung's decision, with the exception of one, and where one returns before the others."""
    ways = ["stops", "raises", "returns", "runs"]
    space = lethe.SearchSpace(
        how=lethe.choice(*ways), notes=lethe.choice(str(tmp_path)), kind=lethe.choice("plain")
    )
    points = [{"how": how, "notes": str(tmp_path), "kind": "plain"} for how in ways]
    search = lethe.Search(
        space,
        4,
        "value",
        "max",
        enqueue=points,
        workers_per_trial=2,
        stopping=lethe.Threshold(9.0, min_epochs=2),
    )
    result = run(lethe.Function(curious, make, epochs=6), dataset, search)
    states, errors = result.trials["state"].tolist(), result.trials["error"].tolist()
    assert states == ["stopped", "failed", "failed", "stopped"], errors
    assert result.trials["attempts"].tolist() == [1, 1, 1, 1]
    assert result.trials["value"].tolist()[0] == 2.0, "as rank 0 says"
    stopped = notes(tmp_path, "stops")
    assert [(entry["steps"], entry["ended"]) for entry in stopped] == [(14, False)] * 2
    assert errors[1].startswith("the training function raised KeyError: 'what is not there'")
    assert "raise KeyError" in errors[1]
    assert errors[2].startswith("the function returned on worker 1 of 2 while worker 0 waited for it")
