"""A plain interpreter whose stdin is a pipe, as that of a Livy or sparkmagic kernel: nothing can be drawn
over."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from conftest import lethe_processes, wait_for
from programs import CLASSIC, PRELUDE

PROGRAM = """
    def fit(hparams, reporter):
        print("it begins")
        for epoch in range(100_000):
            time.sleep(0.05)
            reporter.broadcast(hparams["lr"], epoch)

    def cancel():
        while not os.path.exists("cancel"):
            time.sleep(0.05)
        spark.sparkContext.cancelAllJobs()

    threading.Thread(target=cancel, daemon=True).start()
    result = lethe.lagom(fit, None, search(4), spark=spark)
    print("interrupted:", result.interrupted, len(result.trials))
    spark.stop()
"""


def test_progress_is_plain_lines_and_cancelling_the_spark_jobs_returns_what_there_is(tmp_path: Path) -> None:
    before = lethe_processes()
    values = {"here": str(Path(__file__).parent), "master": "local[2]", "conf": {}}
    text = "\n".join(textwrap.dedent(part.format(**values)) for part in (PRELUDE, CLASSIC))
    with (tmp_path / "stdout").open("w") as stdout, (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env=dict(os.environ),
        )
        try:
            assert process.stdin is not None
            process.stdin.write(text + textwrap.dedent(PROGRAM))
            process.stdin.close()

            def lines() -> list[str]:
                shown = (tmp_path / "stderr").read_text().splitlines()
                return [line for line in shown if line.startswith("search-")]

            # Both slots have trained for a while.
            assert wait_for(lambda: len([line for line in lines() if "2 running" in line]) >= 2, 180)
            assert "cancelled" not in (tmp_path / "stderr").read_text()
            (tmp_path / "cancel").touch()
            assert process.wait(90) == 0
        finally:
            process.kill()
            process.wait()
    for line in lines():
        assert "0/4 trials [" in line
        assert "\r" not in line
    printed = (tmp_path / "stdout").read_text()
    # What the function prints, and the summary, which says why it ended.
    assert "trial 0: it begins" in printed
    assert "interrupted: the slots' Spark job was cancelled" in printed
    assert printed.splitlines()[-1] == "interrupted: True 4"
    assert "it is submitted again" not in (tmp_path / "stderr").read_text()
    assert wait_for(lambda: lethe_processes() <= before, 10), "a process of Lethe was left behind"
