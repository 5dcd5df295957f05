"""A trial's real reporter without an executor: what is reported is kept, and a rung may end the trial."""

from typing import Any

from lethe.worker.checkpoint import Checkpoint
from lethe.worker.gang.alone import Alone
from lethe.worker.reporter import Moment, Reporter


class Trial:
    """metric: the experiment's. stop: the step at which the executor says that the trial is to end.

    Stands in for the outbox, which would send the reports, and for the attempt, which would ask the executor.
    """

    stopped = False

    def __init__(self, metric: str, stop: int | None = None) -> None:
        spec = {
            "trial": 1,
            "objective": {"metric": metric, "direction": "min", "select": "last"},
            "rungs": [] if stop is None else [stop],
        }
        self.reports: list[tuple[int, dict[str, Any]]] = []
        outbox: Any = self
        attempt: Any = self
        checkpoint, moment = Checkpoint(None, None), Moment(spec, None, lambda: None)
        self.reporter = Reporter(
            spec, attempt, outbox, checkpoint, moment, lambda epoch, first: False, Alone()
        )

    def add(self, epoch: int, values: dict[str, Any]) -> None:
        self.reports.append((epoch, values))

    def flush(self) -> None:
        pass

    def verdict(self) -> str:
        return "stop"

    @property
    def steps(self) -> list[int]:
        return [step for step, _ in self.reports]

    @property
    def values(self) -> list[dict[str, Any]]:
        return [values for _, values in self.reports]
