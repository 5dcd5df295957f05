"""spark-submit as docs/operating.md gives it, on a standalone cluster that has nothing of Lethe installed."""

import os
import re
import subprocess
from pathlib import Path

from conftest import lethe_processes, wait_for
from programs import executable

from places.cluster import Cluster, bare
from places.conftest import user
from places.pages import REPOSITORY, commands


def test_the_workers_own_python_has_no_lethe() -> None:
    done = subprocess.run(
        ["python3", "-c", "import lethe"], env=bare(), capture_output=True, text=True, check=False
    )
    assert "No module named 'lethe'" in done.stderr


def test_the_command_of_the_docs_searches_on_workers_that_have_nothing(
    cluster: Cluster, shipped: Path
) -> None:
    pack, submit = commands("docs/operating.md")[0].split("\n", 1)
    assert f"{pack}\n{submit}" in (REPOSITORY / "README.md").read_text(), "the README gives the same commands"
    given = submit.replace("spark://HOST:7077", cluster.master)
    given = given.replace(" env.tar.gz", f" {shipped}").replace("examples/", f"{REPOSITORY}/examples/")
    log = Path("submit.log")
    ran: dict[str, set[str]] = {"lethe-executor": set(), "lethe-trainer": set()}
    libraries: set[str] = set()
    with log.open("w") as file:
        process = subprocess.Popen(["bash", "-c", given], env=user(), stdout=file, stderr=file)

        def watched() -> bool:
            for pid in lethe_processes():
                if executable(pid) in ran:
                    ran[executable(pid)].add(_path(f"/proc/{pid}/exe"))
                    libraries.update(_libtorch(pid))
            return process.poll() is not None

        try:
            assert wait_for(watched, 240), log.read_text()
        finally:
            process.kill()
            process.wait()
    printed = log.read_text()
    assert process.returncode == 0, printed[-3000:]
    found = re.search(r"best model: ([\d.]+) in PyTorch, ([\d.]+) on the executor", printed)
    assert found is not None, printed[-3000:]
    assert found[1] == found[2]
    # One executor on each worker, and all that ran there came in the archive.
    for name, paths in ran.items():
        assert {worker for worker in cluster.work for path in paths if path.startswith(f"{worker}/")} == set(
            cluster.work
        ), (name, paths)
        assert all("/env.tar.gz/" in path or "/environment/" in path for path in paths), paths
    assert libraries
    assert all(path.startswith(tuple(map(str, cluster.work))) for path in libraries), libraries
    assert wait_for(lambda: not lethe_processes(), 15)
    for worker in cluster.work:
        # The last application's; those of other tests are there too.
        came = max(worker.glob("app-*/*/environment/lib/python3.*/site-packages"))
        packages = {path.name for path in came.iterdir()}
        assert {"lethe", "pyarrow", "pandas", "tqdm"} <= packages
        assert not {"torch", "nvidia", "triton", "pyspark", "sklearn"} & packages


def _path(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _libtorch(pid: int) -> set[str]:
    """The files of libtorch that a process maps."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    except OSError:
        return set()
    return {line.split()[-1] for line in lines if "libtorch_cpu" in line}
