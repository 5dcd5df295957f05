"""`tensorboard.logdir()`, for functions that write their own TensorBoard logs."""

from __future__ import annotations

import socket
import tempfile

_folder: str | None = None


def logdir() -> str:
    """A folder of the running trial's own, among its host's temporary files; the trial's log says where."""
    global _folder
    if _folder is None:
        _folder = tempfile.mkdtemp(prefix="lethe-tensorboard-")
        print(f"TensorBoard logs: {_folder} on {socket.gethostname()}")
    return _folder


def forget() -> None:
    """Called before each trial."""
    global _folder
    _folder = None
