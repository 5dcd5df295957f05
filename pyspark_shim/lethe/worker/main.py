"""The process of a worker: its configuration comes as one line on stdin, and it ends when stdin does."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from pathlib import Path

from lethe.worker import prints, seeding
from lethe.worker.bundle import Bundle
from lethe.worker.exchange import Exchange
from lethe.worker.trial import run


def main() -> None:
    """Runs the attempts that the executor hands out, until it says that there are no more."""
    file = Path(sys.argv[1])
    config = json.loads(sys.stdin.readline())
    threading.Thread(target=_lifeline, name="lethe-lifeline", daemon=True).start()
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
    """Threads of the user's function, and atexit handlers that wait for them, keep no slot."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _lifeline() -> None:
    """The executor holds the other end of stdin: when it has gone, nobody wants this process."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(1)
