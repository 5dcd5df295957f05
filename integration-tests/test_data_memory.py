"""More data than the memory that the executor's cgroup allows."""

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cgroups import limited
from conftest import lethe_processes
from programs import executable
from searches import search, training
from torch import nn

import lethe
from lethe.application.registry import application

pytestmark = pytest.mark.usefixtures("no_process_left")

MIB = 1 << 20
#: A worker is not begun with less than 256 MiB.
LIMIT = 272 * MIB
WIDTH, FILES = 254, 26
#: Of a file: 32.5 MiB of the view, whose rows are the array, its number and that of its file.
ROWS_OF_A_FILE = 33_280
ROWS = FILES * ROWS_OF_A_FILE
EPOCHS = 2


class Counts(nn.Module):
    """Counts the rows that train it, and sums their numbers in two ways: none is twice, none is missing."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(WIDTH, 1)
        self.register_buffer("rows", torch.zeros((), dtype=torch.int64))
        self.register_buffer("numbers", torch.zeros((), dtype=torch.int64))
        self.register_buffer("squares", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x[:, :254])

    @torch.jit.export
    def training_step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        x = batch["features"]
        number = x[:, 254].to(torch.int64) + 33280 * x[:, 255].to(torch.int64)
        self.rows += x.size(0)
        self.numbers += number.sum()
        self.squares += (number * number).sum()
        return self.forward(x).square().mean()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Hard links of one file, in folders that tell them apart: 850 MiB of rows in little space."""
    values = np.random.default_rng(1).integers(0, 50, (ROWS_OF_A_FILE, WIDTH)).astype("float32") / 50
    pixels = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), WIDTH)
    one = tmp_path / "one.parquet"
    rows = pa.table({"pixels": pixels, "number": pa.array(np.arange(ROWS_OF_A_FILE), pa.int32())})
    pq.write_table(rows, one, row_group_size=4096)
    for number in range(FILES):
        folder = tmp_path / "rows" / f"file={number}"
        folder.mkdir(parents=True)
        os.link(one, folder / "rows.parquet")
    return tmp_path / "rows"


def test_three_times_the_memory_trains_in_block_order_and_nothing_is_killed(files: Path) -> None:
    if shutil.disk_usage(files).free < 4 << 30:
        pytest.skip("less than 4 GiB of disk are free")
    lethe.shutdown()
    with limited(LIMIT) as cgroup:
        owner = application(None)
        with cgroup.inside():
            owner.executor()
        try:
            (executor,) = (pid for pid in lethe_processes() if executable(pid) == "lethe-executor")
            assert executor in cgroup.pids()
            data = lethe.Dataset.from_files(files, ["pixels", "number", "file"])
            train = training(
                model=lambda hparams: Counts(), loss=None, metrics=[], epochs=EPOCHS, batch_size=512
            )
            what = search(
                1,
                metric="train_loss",
                direction="min",
                space=lethe.SearchSpace(lr=lethe.uniform(1e-4, 2e-4)),
            )
            result = lethe.lagom(
                train, data.shuffle(blocks=1024, window=16), what, spark=False, slots=1, quiet=True
            )
            views = [path.stat().st_size for path in owner.folder.rglob("*.view")]
            alive = executor in cgroup.pids()
        finally:
            lethe.shutdown()
        assert cgroup.killed == 0
        assert alive
        assert result.trials["state"].tolist() == ["finished"]
        assert result.trials["attempts"].tolist() == [1]
        assert len(views) == 1
        assert views[0] >= 3 * LIMIT
        assert 0.9 * LIMIT < cgroup.peak <= LIMIT, "the limit was felt, and kept"
    model, number = result.best_model(), np.arange(ROWS, dtype=np.int64)
    assert int(model.rows) == EPOCHS * ROWS
    assert int(model.numbers) == EPOCHS * int(number.sum())
    assert int(model.squares) == EPOCHS * int((number * number).sum())
