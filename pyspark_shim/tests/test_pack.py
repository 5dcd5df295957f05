"""What `lethe.pack` takes and refuses; `make test-places` ships an archive and trains with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lethe import pack, version
from lethe.errors import ConfigError, InstallError


def test_lethe_comes_with_what_it_requires_and_without_torch() -> None:
    found = dict(pack._closure(["lethe"]))
    assert {"lethe", "pyarrow", "pandas", "numpy", "tqdm"} <= set(found)
    assert not {"torch", "pyspark", "optuna"} & set(found), "extras are not asked for"


def test_an_extra_s_requirements_come_where_it_is_asked_for() -> None:
    assert "optuna" in dict(pack._closure(["lethe[optuna]"]))


def test_libtorch_is_what_the_trainer_loads() -> None:
    libraries = pack._libtorch()
    assert {"libtorch_cpu.so", "libc10.so"} <= set(libraries)
    assert "libtorch_cuda.so" not in libraries
    assert "libc.so.6" not in libraries, "the host's own stay there"
    assert all(path.is_file() for path in libraries.values())


def test_a_packed_environment_s_libtorch_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert version.libtorch() == version.require_torch()
    monkeypatch.setattr(version, "PACKED", tmp_path)
    assert version.libtorch() == tmp_path


def test_a_package_that_is_editable_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As PEP 660 has it: the environment has a path to the code, not the code."""
    (tmp_path / "__editable__.mine-1.0.pth").write_text("/home/me/my mine/src\n")
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "RECORD").write_text("__editable__.mine-1.0.pth,,\nmine-1.0.dist-info/METADATA,,\n")
    origin = {"url": "file:///home/me/my%20mine", "dir_info": {}}
    (info / "direct_url.json").write_text(json.dumps(origin))
    monkeypatch.syspath_prepend(tmp_path)
    found = dict(pack._closure(["mine"]))["mine"]
    assert len(list(pack._files(found))) == 2
    (info / "direct_url.json").write_text(json.dumps({**origin, "dir_info": {"editable": True}}))
    with pytest.raises(InstallError, match=r"^mine is .*: pip install '/home/me/my mine'$"):
        list(pack._files(found))


def test_an_output_that_spark_cannot_unpack_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^Spark unpacks \.tar\.gz, \.tgz and \.zip, and env\.tar\.xz is none"
    ):
        pack.pack("env.tar.xz")


def test_what_is_no_virtual_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    with pytest.raises(InstallError, match=r"is in no virtual environment; make one"):
        pack.pack("env.tar.gz")


def test_the_command_says_what_is_missing_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lethe.pack", "env.tar.gz", "--with", "no-such-package"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"lethe.pack: {sys.executable} has no no-such-package, which is to be packed; run: pip install "
        "no-such-package\n"
    )
    assert not (tmp_path / "env.tar.gz").exists()
