"""A budget on the disk, and a disk that is full: clear errors that lose nothing."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from searches import search, training

import lethe

MIB = 1 << 20


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    lethe.shutdown()
    yield
    lethe.shutdown()


def table(rows: int, seed: int = 1) -> pa.Table:
    """`rows` rows of 256 bytes, in one column, and a label."""
    values = np.random.default_rng(seed).random((rows, 64), dtype=np.float32)
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 64).cast(pa.list_(pa.float32()))
    return pa.table({"pixels": pixels, "digit": pa.array(np.arange(rows) % 10)})


def dataset(rows: int, seed: int = 1) -> lethe.Dataset:
    return lethe.Dataset.from_arrow(table(rows, seed), "pixels", "digit").split(validation=0.2, seed=1)


def trained(data: lethe.Dataset, settings: lethe.Settings | None = None) -> lethe.Result:
    return lethe.lagom(
        training(epochs=1, batch_size=1024),
        data,
        search(2),
        slots=1,
        spark=False,
        quiet=True,
        settings=settings,
    )


def test_a_budget_too_small_for_the_data_is_named_and_what_was_put_stays() -> None:
    """Partitions of 10 MiB and a view as large fit into 25 MiB; further data do not."""
    settings = lethe.Settings(disk_limit=25 * MIB)
    small = dataset(40_000)
    assert set(trained(small, settings).trials["state"]) == {"finished"}
    with pytest.raises(lethe.ExperimentError, match="disk_limit") as refused:
        trained(dataset(100_000, seed=2))
    assert "spark.local.dir" in str(refused.value)
    assert set(trained(small).trials["state"]) == {"finished"}, "nothing of it was lost"


def test_a_view_that_does_not_fit_ends_the_experiment_with_the_reason() -> None:
    with pytest.raises(lethe.ExperimentError, match="disk_limit"):
        trained(dataset(40_000), lethe.Settings(disk_limit=15 * MIB))


def test_views_that_nobody_uses_make_room_for_others() -> None:
    settings = lethe.Settings(disk_limit=27 * MIB)
    data = dataset(40_000)
    first = trained(data, settings)
    for seed in (2, 3, 1):
        again = data.split(validation=0.2, seed=seed)
        assert set(trained(again).trials["state"]) == {"finished"}
    assert set(first.trials["state"]) == {"finished"}


@pytest.fixture
def full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file system of 24 MiB, on which all of Lethe's files lie."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "lethe-test", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    lethe.shutdown()
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system")
def test_a_full_disk_is_named_and_what_was_put_stays(full_disk: Path) -> None:
    small = dataset(35_000)
    assert set(trained(small).trials["state"]) == {"finished"}
    with pytest.raises(lethe.ExperimentError, match=r"spark\.local\.dir") as refused:
        trained(dataset(80_000, seed=2))
    assert str(full_disk) in str(refused.value)
    assert set(trained(small).trials["state"]) == {"finished"}
