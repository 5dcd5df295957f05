"""What can go wrong. The first line of each error names the thing and the remedy."""

from __future__ import annotations


class LetheError(Exception):
    """Base of all of Lethe's errors."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it."""
        from lethe.notebook.error import render

        return render(self)


class ConfigError(LetheError, ValueError):
    """An argument, a search space or a setting that cannot work."""


class DataError(LetheError):
    """A column, a type or a number of rows that cannot be trained on, or data that Spark could not
    compute."""


class ModelError(LetheError):
    """The generated module cannot be used: it cannot be scripted, or the generator has other arguments."""


class InstallError(LetheError):
    """A package or interpreter that is missing or of another version."""


class ProcessError(LetheError):
    """One of Lethe's processes did not start, or has ended."""


class ExperimentError(LetheError):
    """The experiment could not go on."""


class Terminated(SystemExit):
    """The process got SIGTERM while an experiment ran; the experiment has been cancelled. Exit status 143."""

    def __init__(self) -> None:
        super().__init__(143)
