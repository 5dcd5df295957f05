"""The interpreter of Spark's executors: is it there, of this Python version, and has it lethe?

Asked before the first job, and gently: a task that fails for want of a package makes Spark log a Java stack.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from lethe.errors import InstallError
from lethe.session.base import Job, Session
from lethe.version import TORCH, installed

_NEEDED = ("lethe", "pyarrow")

_ASK = """
import importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except Exception:
        return None
print(json.dumps({"executable": sys.executable, "python": "%d.%d" % sys.version_info[:2],
    "packages": {name: version(name) for name in ("lethe", "pyarrow", "torch")}}))
"""


def check(session: Session, needed: Sequence[str] = _NEEDED) -> None:
    """Raises InstallError, which names the interpreter and the remedy."""
    local = session.local_interpreter()
    found = _ask_here(local) if local is not None else _ask_there(session)
    if found is not None:
        _judge(found, needed)


def _ask_here(program: str) -> dict[str, Any] | None:
    """In local mode tasks run on this host: no job is needed."""
    if shutil.which(program) is None:
        raise cannot_run(program)
    done = subprocess.run(
        [program, "-c", _ASK],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    return _parsed(done.stdout) if done.returncode == 0 else None


def _ask_there(session: Session) -> dict[str, Any] | None:
    """One small job, of a function that is shipped by value: it works where lethe is not installed."""
    from pyspark.sql import functions as F

    def ask(_: int) -> str:
        import contextlib
        import io

        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, {})
        return out.getvalue()

    code = _ASK
    asked = F.udf(ask, "string", useArrow=False)("id").alias("found")
    job = Job(
        session,
        f"lethe-check-{secrets.token_hex(6)}",
        "lethe: look at the executors' interpreter",
        lambda: list(session.spark.range(1).select(asked).collect()),
    )
    return _parsed(str(job.start().result()[0]["found"]))


def _parsed(answer: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(answer.splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return found


def _judge(found: dict[str, Any], needed: Sequence[str]) -> None:
    if found["python"] != f"{sys.version_info.major}.{sys.version_info.minor}":
        raise other_python(found["executable"], found["python"])
    for package in needed:
        if found["packages"][package] is None:
            raise lacks(found["executable"], package)
    version = found["packages"]["lethe"]
    if version != installed("lethe"):
        raise InstallError(
            f"the Spark executors' interpreter {found['executable']} has lethe {version}, the driver has "
            "lethe "
            f"{installed('lethe')}; install the same wheel on both"
        )


def name(session: Session) -> str:
    """What is known of the interpreter after a job has failed."""
    return session.local_interpreter() or os.environ.get("PYSPARK_PYTHON", "python3")


def cannot_run(program: str) -> InstallError:
    return InstallError(
        f"Spark cannot run the interpreter {program}; set PYSPARK_PYTHON to one that has lethe on every "
        f"executor's host, as in PYSPARK_PYTHON={sys.executable}"
    )


def lacks(program: str, package: str) -> InstallError:
    if package == "torch":
        return InstallError(
            f"the Spark executors' interpreter {program} has no torch, and predict runs the model in Python "
            f"there: for it libtorch's libraries, which suffice to train, do not suffice; run there: pip "
            f"install torch=={TORCH}"
        )
    return InstallError(
        f"the Spark executors' interpreter {program} has no {package}; install lethe there, ship "
        "it (python -m lethe.pack env.tar.gz), or set "
        f"PYSPARK_PYTHON to an interpreter that has it, as in PYSPARK_PYTHON={sys.executable}"
    )


def other_python(program: str, found: str) -> InstallError:
    return InstallError(
        f"the Spark executors' interpreter {program} is Python {found}, this one is "
        f"{sys.version.split()[0]}; set "
        f"PYSPARK_PYTHON to one of the same version, as in PYSPARK_PYTHON={sys.executable}"
    )
