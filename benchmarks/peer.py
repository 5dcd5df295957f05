"""The peers' own virtual environments. They see this one's torch, and install what only peers need."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: Of most peers; others need older packages than these.
PEERS = "peers"
#: No peer takes longer, seconds.
TIMEOUT = 600


def environment(name: str = PEERS) -> Path:
    """The environment's interpreter; makes it the first time, of `requirements-NAME.txt`."""
    requirements, folder = HERE / f"requirements-{name}.txt", HERE.parent / f".venv-{name}"
    python = folder / "bin" / "python"
    stamp = folder / ".requirements"
    if stamp.is_file() and stamp.read_text() == requirements.read_text():
        return python
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", str(requirements)], check=True)
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
    stamp.write_text(requirements.read_text())
    return python


def run(script: str, arguments: dict[str, Any], name: str | None = PEERS, timeout: float = TIMEOUT) -> Any:
    """Runs a script of `peers/` with JSON on its stdin, in the environment of that name (None: this one);
    returns the JSON of its last line."""
    python = sys.executable if name is None else str(environment(name))
    done = subprocess.run(
        [python, str(HERE / "peers" / script)],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the peer {script} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])
