"""`lethe.TensorBoard`: a folder for each trial, its values by epoch, and the HParams tab."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from lethe.errors import ConfigError, InstallError
from lethe.tracking.tracker import Sink, Tracker


class TensorBoard(Tracker):
    """Writes event files into `directory/<the experiment's name>/trial-<number>`, on the host of `lagom`:
    `tensorboard --logdir directory` shows them while the experiment runs.

    Raises InstallError where tensorboard is not installed.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise InstallError(
                "lethe.TensorBoard: tensorboard is not installed here; run: pip install tensorboard"
            )
        if not isinstance(directory, str | os.PathLike) or "://" in os.fspath(directory):
            raise ConfigError(f"TensorBoard: directory must be a folder of this host, not {directory!r}")
        self.directory = Path(directory).absolute()

    @property
    def place(self) -> str:
        return f"TensorBoard in {self.directory}"

    def sink(self) -> Sink:
        from lethe.tracking.tensorboard_files import Files

        return Files(self.directory)
