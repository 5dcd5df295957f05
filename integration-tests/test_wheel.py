"""The installed package: its binaries, what they link, and an environment that is moved."""

import importlib.metadata
import os
import subprocess
from pathlib import Path

import torch

import lethe

PACKAGE = Path(lethe.__file__).parent
BINARIES = ("lethe-driver", "lethe-executor", "lethe-trainer")


def needed(binary: Path) -> list[str]:
    done = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_three_binaries_are_installed_and_only_the_trainer_links_libtorch() -> None:
    assert "site-packages" in str(PACKAGE), "the tests run the installed wheel"
    for name in BINARIES:
        linked = any("libtorch" in line for line in needed(PACKAGE / "bin" / name))
        assert linked == (name == "lethe-trainer"), name


def test_the_trainer_finds_libtorch_wherever_the_environment_is(tmp_path: Path) -> None:
    """Its folder stands beside torch's, here and after a move; no variable helps it."""
    here = tmp_path / "a" / "site-packages"
    (here / "lethe" / "bin").mkdir(parents=True)
    trainer = here / "lethe" / "bin" / "lethe-trainer"
    trainer.write_bytes((PACKAGE / "bin" / "lethe-trainer").read_bytes())
    trainer.chmod(0o755)
    (here / "torch").symlink_to(Path(torch.__file__).parent)
    starts(trainer)
    (tmp_path / "a").rename(tmp_path / "b")
    starts(tmp_path / "b" / "site-packages" / "lethe" / "bin" / "lethe-trainer")


def starts(trainer: Path) -> None:
    """The loader finds all libraries: what fails is the configuration that it did not get."""
    done = subprocess.run(
        [str(trainer)],
        input="",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "shared libraries" not in done.stderr
    assert "configuration" in done.stderr, done.stderr
    assert "libtorch" not in subprocess.run(
        ["readelf", "-d", str(trainer)], capture_output=True, text=True, check=True
    ).stdout.replace("libtorch_cpu.so", ""), "no path of the machine that built it"


def test_the_package_asks_for_no_more_than_it_uses() -> None:
    required = [text for text in importlib.metadata.requires("lethe") or [] if "extra" not in text]
    assert sorted(text.split(">")[0].split("=")[0].split("<")[0].strip() for text in required) == [
        "pandas",
        "pyarrow",
        "tqdm",
    ]
