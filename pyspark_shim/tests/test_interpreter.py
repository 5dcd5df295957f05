"""PYSPARK_PYTHON is judged before the first job, in one line that names the interpreter and the remedy."""

import json
import sys
import venv
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lethe.errors import InstallError
from lethe.session import interpreter
from lethe.session.base import Session


def session(program: str) -> Session:
    return cast(Any, SimpleNamespace(local_interpreter=lambda: program))


def test_an_interpreter_without_lethe_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    program = str(tmp_path / "bare" / "bin" / "python")
    with pytest.raises(InstallError) as caught:
        interpreter.check(session(program))
    first = str(caught.value).splitlines()[0]
    assert first.startswith(f"the Spark executors' interpreter {program} has no lethe; install lethe there")
    assert f"PYSPARK_PYTHON={sys.executable}" in first


def test_an_interpreter_that_is_not_there_is_named() -> None:
    with pytest.raises(
        InstallError, match="Spark cannot run the interpreter /nowhere/python; set PYSPARK_PYTHON"
    ):
        interpreter.check(session("/nowhere/python"))


def answering(folder: Path, answer: str) -> str:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    return str(program)


def test_another_python_or_lethe_is_named(tmp_path: Path) -> None:
    other = '{"executable": "/x", "python": "3.2", "packages": {"lethe": "0", "pyarrow": "1"}}'
    with pytest.raises(InstallError, match=r"/x is Python 3\.2, this one is"):
        interpreter.check(session(answering(tmp_path, other)))
    mine = f"{sys.version_info.major}.{sys.version_info.minor}"
    older = other.replace("3.2", mine)
    with pytest.raises(InstallError, match="/x has lethe 0, the driver has lethe"):
        interpreter.check(session(answering(tmp_path, older)))


def test_an_interpreter_whose_torch_is_libtorch_alone_cannot_predict(tmp_path: Path) -> None:
    """Its slots train: they need no torch in Python."""
    packages = {"lethe": interpreter.installed("lethe"), "pyarrow": "1", "torch": None}
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = session(
        answering(tmp_path, json.dumps({"executable": "/x", "python": python, "packages": packages}))
    )
    interpreter.check(found)
    with pytest.raises(
        InstallError, match=r"^the Spark executors' interpreter /x has no torch, and predict runs"
    ):
        interpreter.check(found, ("lethe", "pyarrow", "torch"))


def test_this_interpreter_passes() -> None:
    interpreter.check(session(sys.executable))
