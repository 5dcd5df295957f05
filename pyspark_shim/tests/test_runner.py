"""A run between a driver that says what it is told to and slots that only remember."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pyarrow.flight as fl
import pytest

import lethe
from lethe.experiment.adviser import Adviser
from lethe.experiment.runner import Runner
from lethe.experiment.slots import Slots
from lethe.flight import Peer
from lethe.progress.base import Quiet
from lethe.progress.standing import Standing

WITHIN = 10.0
OVER = {"type": "over", "end": {"type": "completed"}}
RESULT = {
    "experiment": "digits",
    "end": {"type": "completed"},
    "best": None,
    "trials": [],
    "slots": [],
    "wall_s": 1.0,
}


class Driver(fl.FlightServerBase):  # type: ignore[misc]
    """Sends the events that a test gives; `calls` has what it was told. `answer` makes events of a call."""

    def __init__(self, answer: Callable[[str, dict[str, Any]], list[dict[str, Any]]]) -> None:
        super().__init__("grpc+tcp://127.0.0.1:0")
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._answer = answer

    def do_action(self, context: Any, action: fl.Action) -> Iterator[bytes]:
        message = json.loads(action.body.to_pybytes())
        if action.type == "experiment.watch":
            event = {"type": ""}
            while event["type"] != "over":
                event = self.events.get(timeout=WITHIN)
                if event["type"] == "broken":
                    raise fl.FlightUnavailableError("Stream removed")
                yield json.dumps(event).encode()
            return
        self.calls.append((action.type, message))
        for event in self._answer(action.type, message):
            self.events.put(event)
        yield json.dumps(RESULT if action.type == "experiment.result" else {}).encode()

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [message for name, message in self.calls if name == kind]


class Held(Slots):
    def __init__(self) -> None:
        self.started = threading.Event()
        self.without_data: list[int] = []
        self.refilled: queue.Queue[list[Any]] = queue.Queue()

    def start(self) -> None:
        self.started.set()

    def check(self, notice: Callable[[str], None]) -> None:
        return

    def left(self, slot: int) -> None:
        self.without_data.append(slot)

    def refill(self) -> None:
        self.refilled.put(self.without_data)
        self.without_data = []

    def renew(self) -> None:
        self.refilled.put(["all"])

    def finish(self, seconds: float) -> bool:
        return True

    def cancel(self) -> None:
        return


class Slow(lethe.Optimizer):
    """Answers once it may."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.told: list[lethe.Trial] = []

    def ask(self, trial: int) -> dict[str, Any]:
        assert self.may.wait(WITHIN)
        return {"x": trial}

    def tell(self, trial: lethe.Trial) -> None:
        if trial.state == "failed":
            raise ZeroDivisionError("no more luck")
        self.told.append(trial)


class Preparer:
    def __init__(self) -> None:
        self.prepared: list[int] = []
        self.then: Callable[[], None] = lambda: None

    def prepare(self, trial: int, seed: int, hparams: dict[str, Any]) -> None:
        self.prepared.append(trial)
        self.then()


class Run:
    def __init__(self) -> None:
        self.driver = Driver(lambda kind, message: self.answers.get(kind, lambda _: [])(message))
        self.answers: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {}
        self.slots, self.optimizer = Held(), Slow()
        self.rebuild: Callable[[], Any] | None = None
        self.alive: Callable[[], bool] = lambda: True
        self.peer = Peer(f"127.0.0.1:{self.driver.port}", "token" * 8)

    def __call__(self, preparer: Preparer | None = None, **plan: Any) -> dict[str, Any]:
        space = lethe.SearchSpace(x=lethe.integer(0, 9))
        search = lethe.Search(space, trials=3, metric="x", direction="min", optimizer=self.optimizer)
        application = SimpleNamespace(
            peer=self.peer,
            driver=SimpleNamespace(alive=self.alive),
            alive=self.alive,
            lost=lambda: lethe.ProcessError("lethe-driver has ended"),
        )
        adviser = Adviser.of(self.peer, "digits", search)
        quiet = Quiet(Standing("digits", 3, "x"))
        message = {"experiment": "digits", "source": {"type": "search"}, **plan}
        runner = Runner(application, message, self.slots, preparer, adviser, quiet, self.rebuild)  # type: ignore[arg-type]
        return runner.run()


@pytest.fixture
def run() -> Iterator[Run]:
    made = Run()
    thread = threading.Thread(target=made.driver.serve, daemon=True)
    thread.start()
    yield made
    made.optimizer.may.set()
    made.peer.close()
    made.driver.shutdown()
    thread.join(WITHIN)


def tell(trial: int, state: str = "finished") -> dict[str, Any]:
    return {
        "type": "tell",
        "trial": trial,
        "state": state,
        "hparams": {"x": 1},
        "values": [1.0],
        "history": [],
    }


def prepare(trial: int) -> dict[str, Any]:
    return {"type": "prepare", "trial": trial, "seed": 7, "hparams": {"x": 1}}


def test_an_optimizer_that_takes_its_time_holds_up_no_preparation(run: Run) -> None:
    preparer = Preparer()
    # The optimizer answers only after a model was prepared that the driver asked for later.
    preparer.then = run.optimizer.may.set
    run.answers["experiment.create"] = lambda _: [{"type": "ask", "trial": 2}, prepare(0)]
    run.answers["experiment.suggested"] = lambda _: [tell(0), OVER]
    assert run(preparer) == RESULT
    assert preparer.prepared == [0]
    [answer] = run.driver.told("experiment.suggested")
    assert answer == {
        "experiment": "digits",
        "trial": 2,
        "result": {"type": "hparams", "hparams": {"x": 2}},
    }
    assert [trial.number for trial in run.optimizer.told] == [0], "the last news arrive before the result"


def test_a_trial_may_be_prepared_again(run: Run) -> None:
    preparer = Preparer()
    run.answers["experiment.create"] = lambda _: [prepare(0), prepare(1), prepare(0), OVER]
    run(preparer)
    assert preparer.prepared == [0, 1, 0]


def test_what_tell_raises_cancels_the_search_and_comes_first(run: Run) -> None:
    run.answers["experiment.create"] = lambda _: [tell(0, "failed")]
    run.answers["experiment.cancel"] = lambda _: [
        {"type": "over", "end": {"type": "cancelled", "reason": ""}}
    ]
    with pytest.raises(
        lethe.ExperimentError, match=r"Slow\.tell raised ZeroDivisionError: no more luck"
    ) as caught:
        run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.__cause__.__traceback__ is not None
    [cancelled] = run.driver.told("experiment.cancel")
    assert "ZeroDivisionError: no more luck" in cancelled["reason"]


def test_what_ask_raises_ends_the_search_by_the_driver(run: Run) -> None:
    class Raises(Slow):
        def ask(self, trial: int) -> dict[str, Any]:
            raise ZeroDivisionError("no more luck")

    def aborted(message: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"type": "over", "end": {"type": "aborted", "error": message["result"]["error"]}}]

    run.optimizer = Raises()
    run.answers["experiment.create"] = lambda _: [{"type": "ask", "trial": 0}]
    run.answers["experiment.suggested"] = aborted
    with pytest.raises(lethe.ExperimentError, match="raised ZeroDivisionError: no more luck") as caught:
        run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_resumed_search_has_slots_also_where_nothing_is_to_be_prepared(run: Run) -> None:
    threading.Thread(target=lambda: run.slots.started.wait(WITHIN) and run.driver.events.put(OVER)).start()
    run(Preparer(), resume={"type": "resume", "accept_changes": False})
    assert run.slots.started.is_set()


def test_slots_wait_for_the_first_module_of_a_new_search(run: Run) -> None:
    preparer = Preparer()
    seen: list[bool] = []
    preparer.then = lambda: seen.append(run.slots.started.is_set())
    run.answers["experiment.create"] = lambda _: [prepare(0), prepare(1), OVER]
    run(preparer)
    assert seen == [False, True]


def test_a_driver_whose_connection_breaks_before_its_process_ends_has_ended(run: Run) -> None:
    looks = iter([True, True, True])
    run.answers["experiment.create"] = lambda _: [{"type": "broken"}]
    run.alive = lambda: next(looks, False)
    with pytest.raises(lethe.ProcessError, match="lethe-driver has ended"):
        run()


def test_a_living_driver_that_ends_the_watch_is_an_error_that_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lethe.experiment.runner.GONE_WITHIN", 0.05)
    run.answers["experiment.create"] = lambda _: [{"type": "broken"}]
    with pytest.raises(lethe.ExperimentError, match="the driver ended the watch of digits: Stream removed"):
        run()


class Rebuilt:
    """Lost data that are put again when the test lets them."""

    def __init__(self, name: str = "d", anew: str | None = None) -> None:
        self.name, self.anew = name, anew
        self.may, self.started, self.cancelled = threading.Event(), 0, False

    def start(self) -> "Rebuilt":
        self.started += 1
        return self

    def done(self) -> bool:
        return self.may.is_set()

    def result(self) -> str:
        return self.name

    def cancel(self) -> None:
        self.cancelled = True


def lacks(slot: int, dataset: str = "d") -> dict[str, Any]:
    return {"type": "lacks", "dataset": dataset, "slot": slot}


def test_slots_that_lost_their_data_are_opened_again_once_those_are_put(run: Run) -> None:
    """Modules are asked for meanwhile: the other slots go on."""
    rebuilt, preparer = Rebuilt(), Preparer()
    run.rebuild = lambda: rebuilt
    preparer.then = rebuilt.may.set
    run.answers["experiment.create"] = lambda _: [lacks(0), lacks(2), prepare(0)]

    def over() -> None:
        assert run.slots.refilled.get(timeout=WITHIN) == [0, 2]
        run.driver.events.put(OVER)

    thread = threading.Thread(target=over)
    thread.start()
    assert run(preparer, data={"dataset": "d"}) == RESULT
    thread.join(WITHIN)
    assert rebuilt.started == 1
    assert run.slots.without_data == []
    assert not rebuilt.cancelled


def test_data_that_could_only_be_put_anew_are_said_to_the_driver(run: Run) -> None:
    rebuilt = Rebuilt("e", anew="its source is not deterministic")
    rebuilt.may.set()
    run.rebuild = lambda: rebuilt
    run.answers["experiment.create"] = lambda _: [lacks(0)]
    # Said of the former data, after they were replaced: no further rebuild.
    run.answers["dataset.drop"] = lambda _: [lacks(1), OVER]
    assert run(data={"dataset": "d"}) == RESULT
    assert run.driver.told("experiment.replace_data") == [{"experiment": "digits", "dataset": "e"}]
    assert run.driver.told("dataset.drop") == [{"dataset": "d"}]
    assert run.slots.refilled.get(timeout=WITHIN) == ["all"]
    assert rebuilt.started == 1


def test_a_put_that_waits_for_a_core_ends_with_the_experiment(run: Run) -> None:
    rebuilt, preparer = Rebuilt(), Preparer()
    run.rebuild = lambda: rebuilt
    run.answers["experiment.create"] = lambda _: [prepare(0), lacks(0), OVER]
    assert run(preparer, data={"dataset": "d"}) == RESULT
    assert rebuilt.started == 1
    assert rebuilt.cancelled


def test_data_that_are_lost_again_and_again_end_the_experiment(run: Run) -> None:
    rebuilt = Rebuilt()
    rebuilt.may.set()
    run.rebuild = lambda: rebuilt
    run.answers["experiment.create"] = lambda _: [lacks(0)] * 30
    run.answers["experiment.cancel"] = lambda _: [OVER]
    with pytest.raises(lethe.ExperimentError, match="held by no executor"):
        run(data={"dataset": "d"})
    assert rebuilt.started < 30
