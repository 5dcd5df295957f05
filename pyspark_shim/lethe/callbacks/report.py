"""What all callbacks share: which values are reported, by which names and at which step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lethe import checks
from lethe.errors import ConfigError

if TYPE_CHECKING:
    from lethe.worker.reporter import Reporter


class Report:
    """Of one callback.

    who: its name, for errors.
    metric: the library's name of what is reported as the experiment's metric.
    every: of so many of the library's counts one is reported. What is left over at the end is not.
    start: steps that are behind before the library counts its first.

    Raises ConfigError for arguments that cannot work.
    """

    def __init__(self, who: str, reporter: Reporter, metric: str, *, every: int = 1, start: int = 0) -> None:
        if not isinstance(metric, str) or not metric:
            raise ConfigError(f"{who}: metric must be a name, not {metric!r}")
        checks.whole(f"{who}: every", every, 1)
        checks.whole(f"{who}: start", start, 0)
        self.metric = metric
        self._who, self._reporter = who, reporter
        self._every, self._start = every, start
        #: The library's last count, and what it had counted before it began anew.
        self._count = self._before = 0
        self._total: int | None = None

    def send(self, count: int, values: Mapping[str, Any], remedy: str) -> None:
        """Reports the values if it is time.

        count: the library's, from 1. One that does not rise is of another `fit`.
        values: by the library's names; what is no number is left out.
        remedy: what to do where the metric is not among them.

        Raises ConfigError (a ValueError) where it is not, and TrialStopped when the trial is to end.
        """
        if count <= self._count:
            self._before += self._count
        self._count = count
        total = self._before + count
        last, self._total = total - 1 if self._total is None else self._total, total
        # A library may count several at once.
        if total // self._every > last // self._every:
            self._reporter.broadcast(self._named(values, remedy), self._start + total // self._every)

    def absent(self, names: Mapping[str, Any], remedy: str) -> ConfigError:
        """The error that the metric is not among these."""
        known = ", ".join(sorted(names)) or "nothing at all"
        return ConfigError(f"{self._who}: metric {self.metric!r} is not reported, but {known}; {remedy}")

    def _named(self, values: Mapping[str, Any], remedy: str) -> dict[str, float]:
        found = numbers(values)
        if self.metric not in found:
            raise self.absent(found, remedy)
        objective = self._reporter.metric
        named = {objective: found.pop(self.metric)}
        if objective in found:
            found.setdefault(f"train_{objective}", found.pop(objective))
        return {**named, **found}


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What of it is a number, tensors of one element too."""
    found = {}
    for name, value in values.items():
        if isinstance(value, str | bytes):
            continue
        try:
            found[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            # PyTorch's error for several elements is a RuntimeError.
            continue
    return found
