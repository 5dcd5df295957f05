"""Hosts that share no disk: each Spark executor has a mount namespace of its own, in which the folders of the
driver and of the other executors are not there. What a trial goes on from has come over Flight."""

import os
import shlex
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import lethe_processes, wait_for
from programs import CLASSIC, Program, executable, jvm_of, parent, spark_home

UNSHARE = ["unshare", "--mount", "--"] if os.geteuid() == 0 else ["unshare", "-rm", "--"]
#: An executor's JVM sees a new, empty file system where all local folders are.
JAVA = """#!/bin/sh
case "$*" in
*CoarseGrainedExecutorBackend*)
    exec {unshare} /bin/sh -c '
        mount -t tmpfs none "$LETHE_TEST_HIDDEN" || exit 1
        IFS=:
        mkdir -p $SPARK_EXECUTOR_DIRS "$LETHE_TEST_HIDDEN/tmp" || exit 1
        exec "$0" "$@"' {java} "$@" ;;
*) exec {java} "$@" ;;
esac
"""
RUN = """
    import pathlib, signal
    from journals import count
    from lethe.application.registry import _APPLICATIONS

    runs = os.environ["LETHE_TEST_HIDDEN"] + "/runs"

    def sql(query):
        owner, = _APPLICATIONS.values()
        return owner.peer.get({"type": "sql", "experiment": "apart", "query": query}).to_pylist()

    def promoted():
        # The slot of a trial that has gone on from a checkpoint and trains on, and its worker.
        found = sql(
            "select e.trial, e.slot from events e "
            "join metrics m on m.trial = e.trial and m.attempt = e.attempt "
            "join trials t on t.trial = e.trial and t.attempts = e.attempt "
            "where e.kind = 'assigned' and e.epoch is not null and t.state = 'running' "
            "group by e.trial, e.slot having max(m.epoch) >= 10"
        )
        if not found:
            return None
        workers = sql(f"select worker_pid from slots where slot = {found[0]['slot']}")
        return {**found[0], "worker": workers[-1]["worker_pid"]}

    held = []

    def hold():
        # Its worker stands still, so that the trial is still there when its host is lost.
        hit = promoted()
        if hit is None:
            return False
        os.kill(hit["worker"], signal.SIGSTOP)
        if promoted() == hit:
            held.append(hit)
        else:
            os.kill(hit["worker"], signal.SIGCONT)
        return bool(held)

    def watch():
        # Reports are there once the experiment is.
        assert wait_for(lambda: count(pathlib.Path(runs, "apart"), "report") > 0, 90)
        assert wait_for(hold, 60)
        say(**held[0])

    threading.Thread(target=watch, daemon=True).start()
    train, what = training(epochs=81, batch_size=4), search(30, stopping=lethe.ASHA(reduction=3))
    result = lethe.lagom(train, dataset, what, quiet=True, name="apart", directory=runs)
    history = result.history.groupby("trial")["epoch"].apply(list)
    say(states=sorted(set(result.trials["state"])), best=result.best.value,
        executors=result.slots["executor"].nunique(),
        gapless=[epochs == list(range(1, len(epochs) + 1)) for epochs in history],
        notices=result.sql("select text from events where kind = 'notice'")["text"].tolist(),
        moved=len(result.sql("select trial from events where kind = 'assigned' "
            "group by trial having count(distinct slot) > 1")))
"""


def permitted(folder: Path) -> bool:
    command = [*UNSHARE, "mount", "-t", "tmpfs", "none", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture
def apart(tmp_path: Path) -> dict[str, Any]:
    hidden = tmp_path / "hidden"
    (hidden / "local").mkdir(parents=True)
    (hidden / "tmp").mkdir()
    if not permitted(hidden):
        # Neither root nor a kernel that lets users make namespaces: there is no other way to hide a folder.
        pytest.skip("this user may not make a mount namespace (unshare)")
    java = os.path.realpath(str(shutil.which("java")))
    wrapper = tmp_path / "jdk" / "bin" / "java"
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text(JAVA.format(unshare=shlex.join(UNSHARE), java=shlex.quote(java)))
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    home = tmp_path / "spark"
    home.mkdir()
    environment = {
        **spark_home(home),
        "JAVA_HOME": str(tmp_path / "jdk"),
        "LETHE_TEST_HIDDEN": str(hidden),
        "SPARK_LOCAL_DIRS": str(hidden / "local"),
        "TMPDIR": str(hidden / "tmp"),
    }
    return {
        "environment": environment,
        "master": "local-cluster[2,1,1024]",
        "conf": {"spark.executor.memory": "1g", "spark.cores.max": "2"},
    }


def namespace(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


def trainers() -> list[int]:
    return [pid for pid in lethe_processes() if executable(pid) == "lethe-trainer"]


def test_a_lost_host_s_trial_goes_on_elsewhere(apart: dict[str, Any]) -> None:
    hidden = Path(apart["environment"]["LETHE_TEST_HIDDEN"])
    with Program(CLASSIC, RUN, **apart) as program:
        hit = program.says()
        at_work = trainers()
        assert hit["worker"] in at_work
        apart_from = {namespace(pid) for pid in at_work} | {namespace("self")}
        assert len(apart_from) == 3, "two executors and the driver share no mounts"
        assert (hidden / "runs" / "apart" / "journal.log").exists()
        for pid in at_work:
            assert not Path(f"/proc/{pid}/root{hidden}/runs").exists(), "the driver's folders are not there"
        orphan = parent(hit["worker"])
        os.kill(jvm_of(hit["worker"]), signal.SIGKILL)
        assert wait_for(lambda: executable(orphan) != "lethe-executor", 15)
        said = program.says()
    assert said["states"] == ["finished", "stopped"]
    assert said["executors"] >= 2
    assert all(said["gapless"])
    assert said["moved"] > 0
    again = [
        text for text in said["notices"] if text.startswith(f"trial {hit['trial']} is run again from epoch ")
    ]
    assert again, said["notices"]
    assert said["best"] > 0.9
    assert wait_for(lambda: not lethe_processes(), 15)
