"""Two Spark executors in processes of their own (`local-cluster`): peers, GPUs, a lost executor."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from conftest import lethe_processes, wait_for
from programs import CLASSIC, Program, cpu_seconds, environment, executable, jvm_of, parent, spark_home

CLUSTER = "local-cluster[2,1,1024]"


@pytest.fixture
def conf(tmp_path: Path) -> dict[str, Any]:
    home = tmp_path / "spark"
    home.mkdir()
    return {
        "environment": spark_home(home),
        "master": CLUSTER,
        "conf": {"spark.executor.memory": "1g", "spark.cores.max": "2"},
    }


def trainers() -> list[int]:
    return [pid for pid in lethe_processes() if executable(pid) == "lethe-trainer"]


def test_two_executors_train_on_the_whole_dataset(conf: dict[str, Any]) -> None:
    conf["conf"]["spark.executorEnv.RUST_LOG"] = "debug"
    run = """
        from lethe.application.registry import running

        result = lethe.lagom(training(epochs=3), dataset, search(6), quiet=True)
        say(executors=sorted(set(result.slots["executor"])), states=list(result.trials["state"]),
            best=result.best.value, rows=dataset.train.to_arrow().num_rows)
        (application,) = running()
        logs = application.folder / "driver" / "logs"
        wait_for(lambda: sum("DEBUG" in log.read_text() for log in logs.glob("*.log")) == 2, 5)
        say(debug=["DEBUG" in log.read_text() for log in logs.glob("*.log")])
        spark.stop()
        say(left=not wait_for(lambda: not lethe_processes() - {os.getpid()} or
            all("driver" in os.readlink(f"/proc/{p}/exe") for p in lethe_processes()), 5))
    """
    with Program(CLASSIC, run, **conf) as program:
        said = program.says()
        assert len(said["executors"]) == 2, "each Spark executor has its own lethe-executor"
        assert said["states"] == ["finished"] * 6
        assert said["best"] > 0.8
        assert said["rows"] == 1438, "partitions of both executors"
        assert program.says() == {"debug": [True, True]}, "each tells the driver what it was asked for"
        assert program.says() == {"left": False}, "executors end within 5 s of spark.stop()"


def test_each_slot_gets_the_gpu_that_spark_gave_its_task(conf: dict[str, Any], tmp_path: Path) -> None:
    """The discovery script names two GPUs that are not there: the trainers see one each, and say so."""
    script = tmp_path / "gpus.sh"
    script.write_text("""#!/bin/sh\necho '{"name": "gpu", "addresses": ["4", "7"]}'\n""")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    conf["master"] = "local-cluster[1,2,1024]"
    conf["conf"] |= {
        "spark.worker.resource.gpu.amount": "2",
        "spark.worker.resource.gpu.discoveryScript": str(script),
        "spark.executor.resource.gpu.amount": "2",
        "spark.task.resource.gpu.amount": "1",
    }
    run = """
        result = lethe.lagom(training(epochs=100000), dataset, search(4), quiet=True)
        say(interrupted=result.interrupted)
    """
    with Program(CLASSIC, run, **conf) as program:
        assert wait_for(lambda: len(trainers()) == 2, 120), program.process.poll()
        found = {environment(pid)["CUDA_VISIBLE_DEVICES"] for pid in trainers()}
        assert found == {"4", "7"}
    assert wait_for(lambda: not lethe_processes(), 15)


def test_a_killed_spark_executor_is_replaced(conf: dict[str, Any]) -> None:
    run = """
        threading.Thread(target=lambda: (wait_for(lambda: sum("trainer" in os.readlink(f"/proc/{p}/exe")
            for p in lethe_processes()) == 2, 60), say(ready=True))).start()
        result = lethe.lagom(training(epochs=400), dataset, search(6), quiet=True)
        say(states=list(result.trials["state"]), attempts=list(result.trials["attempts"]))
    """
    with Program(CLASSIC, run, **conf) as program:
        assert program.says() == {"ready": True}
        # Past their start: each of them trains.
        assert wait_for(lambda: sum(cpu_seconds(pid) > 0.5 for pid in trainers()) == 2, 30)
        orphan = parent(trainers()[0])
        os.kill(jvm_of(trainers()[0]), 9)
        assert wait_for(lambda: executable(orphan) != "lethe-executor", 15), "it outlived its Spark executor"
        said = program.says()
        assert said["states"] == ["finished"] * 6
        assert max(said["attempts"]) == 2
    assert wait_for(lambda: not lethe_processes(), 15)
