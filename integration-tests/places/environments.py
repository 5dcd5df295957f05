"""Virtual environments of the places, kept between runs."""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from places.pages import REPOSITORY

HERE = Path(__file__).parent
#: Ignored by git, as all that begins with `.venv`.
KEPT = REPOSITORY / ".venv-places"


def environment(name: str, shared: bool = False) -> Path:
    """The interpreter of an environment with the packages of `requirements-<name>.txt`, all of them pinned.

    shared: what is not among them is taken from the development environment (torch, pytest, lethe itself).
    """
    requirements = HERE / f"requirements-{name}.txt"
    content = f"{requirements.read_text()}\n{sys.version} {sys.prefix} {shared}"
    digest, folder = hashlib.sha256(content.encode()).hexdigest(), KEPT / name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    if stamp.exists() and stamp.read_text() == digest:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    # They are whole, and what is left out of them is left out on purpose.
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--python", str(python)]
    subprocess.run([*uv, "--no-deps", "-r", str(requirements)], check=True)
    if shared:
        packages = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
        (packages / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    stamp.write_text(digest)
    return python
