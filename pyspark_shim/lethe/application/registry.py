"""The applications of this process, by session."""

from __future__ import annotations

import atexit
import threading

from lethe.application.application import Application
from lethe.errors import ConfigError
from lethe.session.base import Session
from lethe.settings import Settings

_LOCK = threading.Lock()
_APPLICATIONS: dict[str, Application] = {}
#: One for each key, held while its application is made.
_MAKING: dict[str, threading.Lock] = {}
_WITHOUT_SPARK = "local"


def application(session: Session | None, settings: Settings | None = None) -> Application:
    """The session's application, started if need be.

    Raises ConfigError if it runs with other settings.
    """
    key = _WITHOUT_SPARK if session is None else session.key
    with _LOCK:
        making = _MAKING.setdefault(key, threading.Lock())
    # Making one may wait for a job of its session; others, and the process's end, do not wait for that.
    with making:
        with _LOCK:
            for other in [name for name, found in _APPLICATIONS.items() if not found.alive()]:
                _APPLICATIONS.pop(other).close()
            found = _APPLICATIONS.get(key)
        if found is None:
            found = Application(session, settings or Settings())
            with _LOCK:
                _APPLICATIONS[key] = found
        elif settings is not None and settings != found.settings:
            raise ConfigError(
                f"the application runs with other settings: {found.settings}; call lethe.shutdown() before "
                "you change them"
            )
        return found


def running() -> list[Application]:
    """Those that have been started and live."""
    with _LOCK:
        found = list(_APPLICATIONS.values())
    return [one for one in found if one.alive()]


def shutdown() -> None:
    """Ends all of this process's Lethe applications: drivers, executors, slots. Datasets are put again when
    they are next used. It also runs when the process ends."""
    with _LOCK:
        while _APPLICATIONS:
            _APPLICATIONS.popitem()[1].close()


atexit.register(shutdown)
