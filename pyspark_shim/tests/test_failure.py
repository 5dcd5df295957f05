"""What Spark said, in one line."""

import pytest

from lethe.session.failure import crashed, meaning

PYTHON = """
  An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/x/job.py", line 7, in <lambda>
    return 1 / 0
ZeroDivisionError: division by zero

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:581)
"""
ARITHMETIC = """An error occurred while calling o84.collectToPython.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0 failed 1 times
\tat org.apache.spark.scheduler.DAGScheduler.abortStage(DAGScheduler.scala:1)
Caused by: org.apache.spark.SparkArithmeticException: [DIVIDE_BY_ZERO] Division by zero. Use `try_divide`.
"""
PLAIN = """An error occurred while calling o84.collectToPython.
: java.lang.IllegalStateException: SparkContext has been shutdown
\tat org.apache.spark.SparkContext.runJob(SparkContext.scala:1)
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (PYTHON, "ZeroDivisionError: division by zero"),
        (ARITHMETIC, "[DIVIDE_BY_ZERO] Division by zero. Use `try_divide`."),
        (PLAIN, "SparkContext has been shutdown"),
        ("", "an error without a message"),
    ],
)
def test_the_line_that_says_what_happened_is_found(text: str, line: str) -> None:
    assert meaning(text).endswith(line)
    assert "\n" not in meaning(text)


def test_a_killed_python_worker_is_told_from_an_error_of_the_plan() -> None:
    assert crashed(
        RuntimeError("org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)")
    )
    assert not crashed(RuntimeError(PYTHON))
