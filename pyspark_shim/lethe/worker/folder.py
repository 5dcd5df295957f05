"""The folder of this worker alone, in which functions run: empty when a trial begins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: Made by the executor, in the system's folder for temporary files.
OWN = os.getcwd()


def clear() -> None:
    """Back to it, and what the trial has left there is removed."""
    os.chdir(OWN)
    for path in Path(OWN).iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
