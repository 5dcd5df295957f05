"""`lethe.open`: an experiment that ran before, here or elsewhere, from its folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lethe.dataset.preprocessing import PREPROCESSING, Preprocessing
from lethe.errors import ConfigError
from lethe.experiment.plan import DIRECTORY
from lethe.result.sql import Tables

if TYPE_CHECKING:
    import pandas as pd

    from lethe.ablation.report import AblationTable
    from lethe.plot.plots import Plots


class Opened:
    """An experiment's tables, read from its folder. Needs no running process of Lethe, and reads what is
    there of one that was killed, or that still runs.

    name, directory: the experiment's name, and its folder on this host.
    """

    def __init__(self, directory: Path) -> None:
        self.name, self.directory = directory.name, str(directory)
        self._tables = Tables(directory)

    def sql(self, query: str) -> pd.DataFrame:
        """What a SELECT in DataFusion's SQL finds in the tables `trials`, `metrics`, `slots` and `events`.

        Raises LetheError, which says what is wrong with the query or the folder.
        """
        frame: pd.DataFrame = self._tables.query(query).to_pandas()
        return frame

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial."""
        return self.sql("select * from trials order by trial")

    @property
    def metrics(self) -> pd.DataFrame:
        """One row for each metric of each report."""
        return self.sql("select * from metrics order by trial, epoch, metric")

    @property
    def events(self) -> pd.DataFrame:
        """One row a decision, in their order, with why it was made."""
        return self.sql("select * from events order by sequence")

    @property
    def preprocessing(self) -> Preprocessing | None:
        """What raw rows need before the best model gets them; None if nothing."""
        path = Path(self.directory) / PREPROCESSING
        return Preprocessing.load(path) if path.exists() else None

    @property
    def ablation(self) -> AblationTable | None:
        """Of an ablation study that came to its end: what each component is worth; None of anything else."""
        from lethe.ablation.saved import ABLATION, load

        path = Path(self.directory) / ABLATION
        return load(path) if path.exists() else None

    @property
    def plot(self) -> Plots:
        """Figures: `lethe.open("digits").plot.history()`, and others; see `lethe.plot.plots.Plots`."""
        from lethe.plot.plots import Plots

        return Plots(Path(self.directory), self._tables, self.ablation)

    def __repr__(self) -> str:
        return f"Opened({self.directory})"


def open(directory_or_name: str | os.PathLike[str]) -> Opened:  # noqa: A001
    """Opens an experiment that ran before: by its folder, or by its name in "lethe-runs".

        lethe.open("digits").sql("select state, count(*) from trials group by state")

    Raises ConfigError if there is no such folder.
    """
    given = Path(directory_or_name)
    for path in (given, Path(DIRECTORY) / given):
        if path.is_dir():
            return Opened(path.absolute())
    raise ConfigError(
        f"there is no experiment {os.fspath(directory_or_name)!r}: neither that folder nor "
        f"{Path(DIRECTORY).absolute() / given}"
    )
