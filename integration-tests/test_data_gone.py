"""What executors hold of a dataset goes when it is given back, and all of it when the application ends."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import lethe_processes, wait_for
from programs import executable
from searches import search, training
from tables import table

import lethe
from lethe.application.registry import running

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture(scope="module", params=["alone", "spark"])
def session(request: pytest.FixtureRequest) -> Any:
    """None: there is no Spark."""
    return request.getfixturevalue("spark") if request.param == "spark" else None


@pytest.fixture
def data(session: Any) -> Iterator[lethe.Dataset]:
    lethe.shutdown()
    if session is None:
        yield lethe.Dataset.from_arrow(table(), ["a", "id"], "y", key="id")
    else:
        rows = session.createDataFrame(table().to_pandas()).repartition(3)
        yield lethe.Dataset.from_spark(rows, ["a", "id"], "y", key="id")
    lethe.shutdown()


def stores() -> list[Path]:
    """Where this process's executors, or those of its local Spark, keep their files."""
    found = set()
    for pid in lethe_processes():
        if executable(pid) == "lethe-executor":
            found.add(Path(os.readlink(f"/proc/{pid}/fd/2")).parent / "store")
    return sorted(found)


def files(kind: str) -> set[Path]:
    return {path for store in stores() for path in (store / kind).rglob("*") if path.is_file()}


def test_what_was_given_back_is_gone_and_put_again_when_it_is_used(data: lethe.Dataset, session: Any) -> None:
    other = lethe.Dataset.from_arrow(table(), ["b"], "y")
    kept = other.train.to_numpy()[0]
    of_other = files("partitions")
    assert of_other
    split = data.normalize("a").split(0.2, seed=1)
    before = split.train.to_numpy()[0]
    result = lethe.lagom(training(epochs=2), split, search(2), slots=1, quiet=True)
    put, views = files("partitions") - of_other, files("views")
    assert put
    split.unpersist()
    assert wait_for(lambda: files("partitions") == of_other, 10), files("partitions") - of_other
    assert wait_for(lambda: len(files("views")) < len(views), 10), "its view goes too"
    assert np.array_equal(split.train.to_numpy()[0], before)
    again = files("partitions") - of_other
    assert again
    assert not again & put, "under another name"
    repeated = lethe.lagom(training(epochs=2), split, search(2), slots=1, quiet=True)
    assert list(repeated.trials["value"]) == list(result.trials["value"])
    assert np.array_equal(other.train.to_numpy()[0], kept), "others stay"
    # Twice is as once.
    data.unpersist()
    data.unpersist()
    assert wait_for(lambda: files("partitions") == of_other, 10)


def test_all_is_gone_when_the_application_ends(data: lethe.Dataset) -> None:
    data.train.to_numpy()
    (owner,) = running()
    found = stores()
    assert found
    assert files("partitions")
    lethe.shutdown()
    assert wait_for(lambda: not any(store.exists() for store in found), 10), found
    assert not owner.folder.exists()

    def left() -> set[str]:
        return {path.name for store in found for path in store.parent.glob("*")}

    # Spark removes its directories itself.
    assert wait_for(lambda: left() <= {"executor.log", "executor.lock"}, 10), left()
