"""What Lethe's processes log is found from the error that a user reads."""

import os
import re
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import wait_for
from searches import search, training

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")


def test_an_error_names_the_logs_of_driver_and_executors(digits: pa.Table, tmp_path: Path) -> None:
    trainer = tmp_path / "trainer"
    trainer.write_text("#!/bin/sh\necho 'no such thing' >&2\nexit 3\n")
    trainer.chmod(0o700)
    settings = lethe.Settings(trainer=str(trainer))
    dataset = lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)
    with pytest.raises(lethe.LetheError) as failed:
        lethe.lagom(training(), dataset, search(2), spark=False, slots=1, quiet=True, settings=settings)
    lethe.shutdown()
    text = str(failed.value)
    assert "no such thing" in text
    (folder,) = re.findall(r"have logged: (.*)", text)
    # It outlives the application.
    logs = sorted(Path(folder).glob("*.log"))
    assert [log.name == "driver.log" for log in logs].count(True) == 1
    assert len(logs) == 2, logs
    assert "experiment created" in Path(folder, "driver.log").read_text()
    (executor,) = (log.read_text() for log in logs if log.name != "driver.log")
    assert "the slot failed" in executor
    assert all(log.stat().st_mode & 0o077 == 0 for log in logs)


def test_rust_log_sets_what_is_logged(digits: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUST_LOG", "error")
    dataset = lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)
    lethe.lagom(training(), dataset, search(1), spark=False, slots=1, quiet=True)
    from lethe.application.registry import application

    owner = application(None, None)
    assert owner.driver.log.read_text() == ""
    lethe.shutdown()
    monkeypatch.setenv("RUST_LOG", "debug")
    lethe.lagom(training(), dataset, search(1), spark=False, slots=1, quiet=True)
    owner = application(None, None)
    assert "DEBUG" in owner.driver.log.read_text()
    logs = owner.folder / "driver" / "logs"
    assert wait_for(lambda: any("DEBUG" in log.read_text() for log in logs.glob("*.log")), 5), os.listdir(
        logs
    )
