"""What Spark said, in one line."""

import pytest

from lethe.session.failure import cancelled, crashed, meaning, stopped

PYTHON = """
  An exception was thrown from the Python worker. Please see the stack trace below.
Traceback (most recent call last):
  File "/x/job.py", line 7, in <lambda>
    return 1 / 0
ZeroDivisionError: division by zero

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:581)
"""
CONNECT_4_3 = """
  An exception was thrown from the Python worker. Please see the stack trace below.
[PYTHON_EXCEPTION] An exception was thrown from the Python worker: Traceback (most recent call last):
  File "/x/job.py", line 7, in <lambda>
    return 1 / 0
           ~~^~~
ZeroDivisionError: division by zero
 SQLSTATE: 38000
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
        (CONNECT_4_3, "ZeroDivisionError: division by zero"),
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


@pytest.mark.parametrize(
    "said",
    [
        "[SPARK_JOB_CANCELLED] Job 3 cancelled as part of cancellation of all jobs SQLSTATE: XXKDA",
        "[SPARK_JOB_CANCELLED] Job 2 cancelled part of cancelled job group cell 4 SQLSTATE: XXKDA",
        "Job 7 cancelled because Stage 9 was cancelled",
        "[OPERATION_CANCELED] Operation has been canceled. SQLSTATE: HY008",
    ],
)
def test_a_cancelled_job_is_told_from_a_failed_one(said: str) -> None:
    assert cancelled(RuntimeError(f"org.apache.spark.SparkException: {said}"))
    assert not cancelled(RuntimeError(ARITHMETIC))


def test_a_job_that_ends_with_its_session_is_not_taken_for_cancelled() -> None:
    error = RuntimeError(
        "org.apache.spark.SparkException: Job 4 cancelled because SparkContext was shut down"
    )
    assert stopped(error)
    assert not cancelled(error)
