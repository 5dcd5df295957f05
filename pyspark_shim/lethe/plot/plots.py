"""`result.plot`: the figures of one experiment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lethe.errors import LetheError
from lethe.plot.study import Study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lethe.ablation.report import AblationTable
    from lethe.result.sql import Tables


class Plots:
    """Figures of Matplotlib, made without pyplot: shown by a notebook, saved with `figure.savefig("x.png")`.

    They are of what the experiment's folder holds when they are asked for, also while it runs. Each raises
    InstallError without Matplotlib (pip install 'lethe[charts]'), and LetheError where there is nothing to
    plot. metric: one of the search's metrics, or another that its trials reported; None: the search's.
    """

    def __init__(self, directory: Path, tables: Tables, ablation: AblationTable | None) -> None:
        self._directory, self._tables, self._ablation = directory, tables, ablation

    def history(self, metric: str | None = None) -> Figure:
        """Each trial's value, and the best so far; of several metrics one below the other."""
        from lethe.plot.history import history

        return history(self._study(), metric)

    def curves(self, metric: str | None = None) -> Figure:
        """Each trial's metric by epoch: those that finished, those that were stopped and where, the best."""
        from lethe.plot.curves import curves

        return curves(self._study(), metric)

    def parallel(self, metric: str | None = None) -> Figure:
        """A line a trial through its hyperparameters to its value: parallel coordinates."""
        from lethe.plot.parallel import parallel

        return parallel(self._study(), metric)

    def importance(self, metric: str | None = None) -> Figure:
        """How much each hyperparameter matters: permutation importance in a random forest, on trials that the
        forest has not seen. Needs scikit-learn, and ten trials with a value."""
        from lethe.plot.importance import importance

        return importance(self._study(), metric)

    def slots(self) -> Figure:
        """What each slot did over time: loading, training, saving, idle. A Gantt chart."""
        from lethe.plot.slots import slots

        return slots(self._directory, self._tables)

    def ablation(self) -> Figure:
        """What each component of an ablation study is worth; see `AblationTable.chart`."""
        if self._ablation is None:
            raise LetheError(f"{self._directory.name} is no ablation study; lethe.Ablation(…) runs one")
        return self._ablation.chart()

    def _study(self) -> Study:
        return Study(self._directory, self._tables)
