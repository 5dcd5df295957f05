"""Spark Connect: sessions at once on one server, each with a driver and executors of its own; Ctrl-C."""

import signal
from collections.abc import Iterator

import pytest
from conftest import lethe_processes, wait_for
from connect import REMOTE, connect_server
from programs import Program, executable, training_now


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with connect_server(tmp_path_factory.mktemp("server")) as url:
        yield url


def test_two_sessions_search_at_once_and_leave_nothing(server: str) -> None:
    run = """
        def executors():
            return sum("executor" in os.readlink(f"/proc/{p}/exe") for p in lethe_processes())

        dataset.train.to_arrow()
        say(stored=True)
        assert wait_for(lambda: executors() == 2, 60), "the other session's executor did not come"
        result = lethe.lagom(training(epochs=2), dataset, search(4), slots=2, quiet=True)
        say(states=list(result.trials["state"]), executor=sorted(set(result.slots["executor"])))
    """
    with Program(REMOTE, run, remote=server) as one, Program(REMOTE, run, remote=server) as two:
        assert one.says() == two.says() == {"stored": True}
        first, second = one.says(), two.says()
        assert first["states"] == second["states"] == ["finished"] * 4
        assert len(first["executor"]) == len(second["executor"]) == 1
        assert first["executor"] != second["executor"]
        one.rest()
        two.rest()
    # The server lives on; what its clients started does not.
    assert wait_for(lambda: not [p for p in lethe_processes() if executable(p)], 10)


def test_a_saved_model_predicts_within_the_plan_and_as_a_file_beside_it(server: str) -> None:
    run = """
        import torch
        from lethe.saved import spark as predicting

        local = lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(0.2, seed=7)
        result = lethe.lagom(training(epochs=2), local, lethe.Single(metric="accuracy", direction="max"),
                             spark=False, slots=1, quiet=True)
        model = lethe.load(result.save("digits"))
        answer = model.predict(frame)
        predicting.PLAN_BYTES = 0
        both = answer.withColumnRenamed("prediction", "first")
        found = model.predict(both).toPandas()
        with torch.no_grad():
            classes = result.best_model()(torch.tensor(found["pixels"].tolist())).argmax(dim=1)
        say(rows=len(found), one=int((found["first"] == classes.numpy()).sum()),
            two=int((found["prediction"] == classes.numpy()).sum()))
    """
    with Program(REMOTE, run, remote=server) as program:
        assert program.says() == {"rows": 1797, "one": 1797, "two": 1797}
        program.rest()


def test_an_error_of_the_plan_is_one_line_and_ctrl_c_returns_the_partial_result(server: str) -> None:
    run = """
        from pyspark.sql import functions as F

        broken = frame.withColumn("digit", F.udf(lambda digit: 1 // 0, "int")("digit"))
        data = lethe.Dataset.from_spark(broken, "pixels", "digit").split(validation=0.2)
        try:
            lethe.lagom(training(epochs=1), data, search(1), slots=2, quiet=True)
        except lethe.DataError as error:
            say(error=str(error).splitlines()[0])
        dataset.train.to_arrow()
        say(ready=True)
        result = lethe.lagom(training(epochs=100000), dataset, search(4), slots=2, quiet=True)
        say(interrupted=result.interrupted, trials=len(result.trials))
    """
    before = lethe_processes()
    with Program(REMOTE, run, remote=server) as program:
        assert program.says() == {
            "error": "Spark could not compute the dataset: ZeroDivisionError: "
            "integer division or modulo by zero"
        }
        assert program.says() == {"ready": True}
        assert wait_for(lambda: len(training_now(before)) == 2, 90)
        program.process.send_signal(signal.SIGINT)
        said = program.says()
        assert said["interrupted"]
        assert said["trials"] >= 2
        program.rest()
    assert wait_for(lambda: lethe_processes() <= before, 10), "a process of Lethe was left behind"
