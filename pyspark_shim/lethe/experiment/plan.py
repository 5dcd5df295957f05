"""An experiment's name, folder and plan."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lethe.contexts import Distributed, Listing
from lethe.errors import ConfigError
from lethe.experiment.code import code
from lethe.function import Function
from lethe.search import Search
from lethe.supervised import Registered, Supervised
from lethe.version import PROTOCOL, installed

#: Below the current folder, unless another is named.
DIRECTORY = "lethe-runs"
NAME_BYTES = 200


@dataclass(frozen=True)
class Folder:
    """An experiment's folder on this host.

    resumed: it goes on from what lies there, or in its store. accept_changes: also where its plan was
    another. store: the URL of a copy in an object store; store_options: of the store. made: the folder was
    not there before.
    """

    path: Path
    resumed: bool = False
    accept_changes: bool = False
    store: str | None = None
    #: May hold secrets.
    store_options: Mapping[str, str] | None = field(default=None, repr=False)
    made: bool = True

    @property
    def name(self) -> str:
        return self.path.name

    def message(self) -> dict[str, Any]:
        """Its part of the message `Plan`."""
        found: dict[str, Any] = {"directory": str(self.path)}
        if self.store is not None:
            found["store"] = {"url": self.store, "options": dict(self.store_options or {})}
        if self.resumed:
            found["resume"] = {"type": "resume", "accept_changes": self.accept_changes}
        return found


def check_name(name: str) -> str:
    """Raises ConfigError if it cannot be an experiment's name: it becomes a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name) or len(name) > NAME_BYTES:
        raise ConfigError(
            f"the experiment's name {name!r} must have 1 to {NAME_BYTES} letters, digits, '-', '_' or '.', "
            "and not start with a dot"
        )
    return name


def folder(
    name: str | None,
    directory: str | None,
    *,
    resume: bool = False,
    accept_changes: bool = False,
    store: str | None = None,
    store_options: Mapping[str, str] | None = None,
    kind: str = "search",
) -> Folder:
    """The experiment's folder, which is made where it is not there; its last part is the experiment's name.

    Raises ConfigError if the name is taken, the folder cannot be made, or the arguments do not go together.
    """
    _check_store(store, store_options)
    if accept_changes and not resume:
        raise ConfigError("accept_changes is for experiments that are resumed; add resume=True")
    if resume and name is None:
        raise ConfigError('resume=True needs the experiment\'s name: lagom(…, name="digits", resume=True)')
    if resume and name is not None:
        path = place(check_name(name), directory)
        found = path.is_dir()
        if not found:
            new_folder(name, directory, kind)
        # Where this host is new, its copy in the store is what there is; the driver looks.
        return Folder(path, found or store is not None, accept_changes, store, store_options, not found)
    return Folder(new_folder(name, directory, kind), store=store, store_options=store_options)


def _check_store(store: str | None, options: Mapping[str, str] | None) -> None:
    if store is not None and (not isinstance(store, str) or "://" not in store):
        raise ConfigError(f'store must be a URL such as "s3://bucket/runs/digits", not {store!r}')
    if options is not None and store is None:
        raise ConfigError('store_options are for a store; name it: store="s3://bucket/folder"')
    for name, value in (options or {}).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ConfigError(f"store_options must be strings by name, not {name!r}: {type(value).__name__}")


def place(name: str, directory: str | None) -> Path:
    """Where the experiment of this name lies."""
    return Path(directory if directory is not None else DIRECTORY).absolute() / name


def new_folder(name: str | None, directory: str | None, kind: str = "search") -> Path:
    """Makes the folder of an experiment that is not there yet; one without a name is called by its kind and
    the time.

    Raises ConfigError if the name is taken or the folder cannot be made.
    """
    chosen = (
        check_name(name)
        if name is not None
        else f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    )
    path = place(chosen, directory)
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise ConfigError(
            f"there is an experiment {path} already; go on with it (resume=True), or choose another name or "
            "directory"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"cannot make the experiment's folder {path}: {error.strerror}; name another directory"
        ) from None
    return path


def tidy(folder: Folder, *, began: bool) -> None:
    """An experiment whose slots were never started leaves no folder, so that its name is free again; of
    others only empty folders go. A folder that was there before and was not begun with may be in use by
    another process: it stays as it is."""
    if began:
        _remove_empty(folder.path)
    elif folder.made:
        shutil.rmtree(folder.path, ignore_errors=True)


def _remove_empty(path: Path) -> None:
    for inner in sorted(path.rglob("*"), reverse=True):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()
    if path.is_dir() and not any(path.iterdir()):
        path.rmdir()


def plan(
    train: Supervised | Registered | Function,
    data: dict[str, Any] | None,
    experiment: Search | Listing,
    source: dict[str, Any],
    folder: Folder,
    slots: int,
) -> dict[str, Any]:
    """The message `Plan`. data: the message `DataSpec`. source: the message `Source`."""
    return {
        "protocol": PROTOCOL,
        "version": installed("lethe"),
        "experiment": folder.name,
        "seed": experiment.seed,
        "source": source,
        "objective": experiment.objective(),
        "function": train.message(),
        "data": data,
        "slots": slots,
        "code": code(train, experiment),
        "checkpoint_every_s": float(experiment.checkpoint_seconds),
        "retries": {"infrastructure": experiment.retries, "exceptions": experiment.retry_exceptions},
        **(
            {"shards": "local"} if isinstance(experiment, Distributed) and experiment.order == "local" else {}
        ),
        **folder.message(),
    }
