"""Why a Spark job failed, in one line, without the Java stack."""

from __future__ import annotations

import re

from lethe.errors import DataError, ExperimentError, LetheError
from lethe.session import interpreter
from lethe.session.base import Session

_PACKAGE = re.compile(
    r"No module named '(lethe|pyarrow|pandas)[\w.]*'|No package metadata was found for (lethe)"
)
_PYARROW = re.compile(r"PyArrow >= \S+ must be installed|PACKAGE_NOT_INSTALLED|UNSUPPORTED_PACKAGE_VERSION")
_PROGRAM = re.compile(r'Cannot run program "([^"]+)"')
_VERSION = re.compile(r"PYTHON_VERSION_MISMATCH")
_CANCELLED = re.compile(r"SPARK_JOB_CANCELLED|\bJob \d+ cancelled\b|OPERATION_CANCELED")
#: So are all jobs when the context is stopped.
_STOPPED = "SparkContext was shut down"
_CRASHED = re.compile(r"Python worker exited unexpectedly|Python worker failed to connect back")


def crashed(error: BaseException) -> bool:
    """Whether a Python worker was killed: nothing that the plan or the interpreter did."""
    return _CRASHED.search(str(error)) is not None


def stopped(error: BaseException) -> bool:
    """Whether the job ended with its SparkContext."""
    return _STOPPED in str(error)


def cancelled(error: BaseException) -> bool:
    """Whether the job was cancelled, by whoever may: with all jobs, with its group (as notebooks do), or by
    "kill" on Spark's web page."""
    return _CANCELLED.search(str(error)) is not None and not stopped(error)


def explain(error: Exception, session: Session, doing: str) -> LetheError:
    """The error to raise instead. `doing` says what Spark could not do: "compute the dataset"."""
    text = str(error)
    program = _PROGRAM.search(text)
    if program is not None:
        return interpreter.cannot_run(program[1])
    package = _PACKAGE.search(text)
    if package is not None:
        return interpreter.lacks(interpreter.name(session), package[1] or package[2])
    if _VERSION.search(text):
        return interpreter.other_python(interpreter.name(session), "of another version")
    if _PYARROW.search(text):
        return interpreter.lacks(interpreter.name(session), "pyarrow")
    if cancelled(error):
        return ExperimentError(f"the Spark job that was to {doing} was cancelled: {meaning(text)}")
    return DataError(f"Spark could not {doing}: {meaning(text)}")


def meaning(text: str) -> str:
    """The line of a Spark error that says what happened."""
    lines = [line.strip() for line in text.splitlines()]
    # The last line of a Python traceback, which stands before the Java stack.
    for index, line in enumerate(lines):
        if line.endswith("Traceback (most recent call last):"):
            for after in text.splitlines()[index + 1 :]:
                if re.match(r"[\w.]+(Error|Exception|Interrupt|Exit|Warning)\b", after):
                    return after.strip()
    # Spark's own error class: "[DIVIDE_BY_ZERO] Division by zero. …", not that of the failed Python task.
    for line in lines:
        found = re.search(r"\[[A-Z][A-Z0-9_.]+\] .*", line)
        if found is not None:
            return found[0]
    for line in lines:
        if line and not re.match(
            r"at |Py4JJavaError|An error occurred while calling|Driver stacktrace", line
        ):
            return re.sub(r"^:? ?([\w$]+\.)+", "", line)
    return "an error without a message"
