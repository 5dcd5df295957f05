"""An experiment's name, folder and plan."""

from __future__ import annotations

import re
import secrets
import time
from pathlib import Path
from typing import Any

from lethe.dataset.dataset import Dataset
from lethe.errors import ConfigError
from lethe.search import Search
from lethe.supervised import Registered, Supervised
from lethe.version import PROTOCOL, installed

#: Below the current folder, unless another is named.
DIRECTORY = "lethe-runs"
NAME_BYTES = 200


def check_name(name: str) -> str:
    """Raises ConfigError if it cannot be an experiment's name: it becomes a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) or len(name) > NAME_BYTES:
        raise ConfigError(
            f"the experiment's name {name!r} must have 1 to {NAME_BYTES} letters, digits, '-', '_' or '.', "
            "and not start with a dot"
        )
    return name


def new_folder(name: str | None, directory: str | None) -> Path:
    """Makes the experiment's folder; its last part is the experiment's name.

    Raises ConfigError if the name is taken or the folder cannot be made.
    """
    chosen = (
        check_name(name)
        if name is not None
        else f"search-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    )
    folder = Path(directory if directory is not None else DIRECTORY).absolute() / chosen
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise ConfigError(
            f"there is an experiment {folder} already; choose another name or directory"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"cannot make the experiment's folder {folder}: {error.strerror}; name another directory"
        ) from None
    return folder


def remove_empty(folder: Path) -> None:
    """An experiment that never began leaves no folder: removes it, unless there is a file in it."""
    for inner in sorted(folder.rglob("*"), reverse=True):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def plan(
    train: Supervised | Registered, dataset: Dataset | None, search: Search, folder: Path, slots: int
) -> dict[str, Any]:
    """The message `Plan`."""
    loss = train.loss if isinstance(train, Supervised) else None
    return {
        "protocol": PROTOCOL,
        "version": installed("lethe"),
        "experiment": folder.name,
        "seed": search.seed,
        "source": search.source(),
        "objective": search.objective(),
        "function": train.message(),
        "data": None if dataset is None else dataset.spec(loss),
        "slots": slots,
        "directory": str(folder),
    }
