"""The process of a worker: its configuration comes as one line on stdin, and it ends when stdin does."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import threading
import traceback
from pathlib import Path

from lethe.worker import folder, prints, seeding
from lethe.worker.bundle import Bundle
from lethe.worker.exchange import Exchange
from lethe.worker.trial import run


def main() -> None:
    """Runs the attempts that the executor hands out, until it says that there are no more."""
    file = Path(sys.argv[1])
    config = json.loads(sys.stdin.readline())
    threading.Thread(target=_lifeline, args=(_own_stdin(),), name="lethe-lifeline", daemon=True).start()
    # Functions that look at the arguments find none, wherever they run.
    sys.argv[:] = [""]
    printed = prints.capture()
    seeding.watch_imports()
    try:
        bundle = Bundle.read(file)
        exchange = Exchange(config["executor"], config["token"], config["worker"])
        for job in exchange.jobs():
            run(bundle, job, exchange, printed)
    except ModuleNotFoundError as error:
        print(
            f"the training function needs the module {error.name!r}, which is not here: ship it "
            "(spark.sparkContext.addPyFile, --py-files, --archives), or install it on the executors",
            file=sys.stderr,
        )
        _end(1)
    except BaseException:
        traceback.print_exc()
        _end(1)
    _end(0)


def _end(status: int) -> None:
    """Ends the process now: threads of the user's function, and atexit handlers that wait for them, keep no
    slot."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    # What it has started goes too: it is in the group of this process.
    with contextlib.suppress(OSError, ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    os._exit(status)


def _own_stdin() -> int:
    """The descriptor of stdin, in whose place is nothing: a child of the user's function closes it, and what
    asks there is told that nobody answers."""
    own, nothing = os.dup(0), os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdin = os.fdopen(0, closefd=False, encoding="utf-8")
    return own


def _lifeline(stdin: int) -> None:
    """The executor holds the other end of stdin: when it has gone, nobody wants this process."""
    while os.read(stdin, 4096):
        pass
    # It would have been removed by the executor.
    shutil.rmtree(folder.OWN, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
