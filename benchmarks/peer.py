"""The peers' own virtual environment. It sees this environment's torch, and installs what only peers need."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements-peers.txt"
ENVIRONMENT = HERE.parent / ".venv-peers"
#: No peer takes longer, seconds.
TIMEOUT = 600


def environment() -> Path:
    """The environment's interpreter; makes it the first time."""
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / ".requirements"
    if stamp.is_file() and stamp.read_text() == REQUIREMENTS.read_text():
        return python
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True)
    site = Path(
        subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    # Appended to the path, so that the peers' own packages come first; 1.2 GB of torch is not copied.
    (site / "torch_of_lethe.pth").write_text(sysconfig.get_path("purelib") + "\n")
    stamp.write_text(REQUIREMENTS.read_text())
    return python


def run(script: str, arguments: dict[str, Any]) -> Any:
    """Runs a script of `peers/` with JSON on its stdin; returns the JSON of its last line."""
    done = subprocess.run(
        [str(environment()), str(HERE / "peers" / script)],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the peer {script} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
