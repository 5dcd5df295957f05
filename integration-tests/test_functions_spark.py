"""Python functions of a script on a Spark cluster: shipped by value, their workers replaced, no task lost."""

from pathlib import Path

from conftest import lethe_processes, wait_for
from programs import CLASSIC, Program, spark_home

RUN = """
    from pathlib import Path

    factor = 3.0

    class Helper:
        def times(self, value):
            return factor * value

    def train(hparams, reporter, checkpoint):
        # Everything that is defined in this script comes along.
        state = checkpoint.load() or {"step": 0}
        for step in range(state["step"], 3):
            checkpoint.save({"step": step + 1})
            reporter.broadcast(Helper().times(step), step)
        mark = Path(hparams["mark"])
        if hparams["how"] == "kill" and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), 9)
        while hparams["how"] == "hang":
            time.sleep(0.1)
        print("on slot", lethe.rank(), "of", lethe.world())
        return Helper().times(10)

    here = os.getcwd()
    points = [{"how": how, "mark": f"{here}/mark-{how}"} for how in ("kill", "hang", "plain", "plain2")]
    space = lethe.SearchSpace(
        how=lethe.choice("kill", "hang", "plain", "plain2"),
        mark=lethe.choice(*(point["mark"] for point in points)),
    )
    search = lethe.Search(space, 4, "value", "max", enqueue=points, trial_seconds=4.0)
    result = lethe.lagom(train, None, search, quiet=True, name="script")
    say(states=list(result.trials["state"]), values=[None if v != v else v for v in result.trials["value"]],
        attempts=list(result.trials["attempts"]),
        executors=result.slots["executor"].nunique(),
        left=result.sql("select text from events where kind = 'slot_left'")["text"].tolist(),
        epochs=list(result.trials["epochs"]))
    # The same function, a lambda of it, with data of the cluster.
    width = lambda dataset: float(dataset.train.to_torch()[0].shape[1])
    single = lethe.lagom(width, dataset, lethe.Single(), quiet=True)
    say(value=single.best.value)
    spark.stop()
"""


def test_functions_of_a_script_run_on_a_cluster(tmp_path: Path) -> None:
    home = tmp_path / "spark"
    home.mkdir()
    conf = {"spark.executor.memory": "1g", "spark.cores.max": "2"}
    options = {"environment": spark_home(home), "master": "local-cluster[2,1,1024]", "conf": conf}
    with Program(CLASSIC, RUN, **options) as program:
        said = program.says()
        width = program.says()
        program.rest()
    assert said["states"] == ["finished", "stopped", "finished", "finished"]
    assert said["values"] == [30.0, 6.0, 30.0, 30.0]
    assert said["epochs"] == [4, 3, 4, 4]
    assert said["attempts"] == [2, 1, 1, 1], "a killed worker costs its attempt"
    assert said["left"] == [], "and neither costs a slot"
    assert said["executors"] >= 1
    assert width["value"] == 64.0
    log = Path("lethe-runs", "script", "logs", "trial-2.log").read_text()
    assert log == "on slot 0 of 1\n"
    assert wait_for(lambda: not lethe_processes(), 15)
