"""The user's optimizer and predicates are asked on a thread of their own, in the driver's order."""

import math
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lethe
from lethe.experiment.adviser import Adviser, told

WITHIN = 10.0


class Peer:
    """Takes the answers that would go to the driver."""

    def __init__(self) -> None:
        self.answers: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def call(self, kind: str, message: dict[str, Any]) -> None:
        self.answers.put((kind, message))

    def next(self) -> tuple[str, dict[str, Any]]:
        return self.answers.get(timeout=WITHIN)


class Recorder(lethe.Optimizer):
    """Suggests the trial's number; remembers what was called."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def begin(self, search: lethe.Search) -> None:
        self.calls.append(("begin", list(search.space), search.objectives))

    def ask(self, trial: int) -> dict[str, Any] | None:
        self.calls.append(("ask", trial))
        return None if trial == 3 else {"x": trial}

    def tell(self, trial: lethe.Trial) -> None:
        self.calls.append(("tell", trial.number))


def told_of(trial: int, **changes: Any) -> dict[str, Any]:
    return {
        "type": "tell",
        "trial": trial,
        "state": "finished",
        "hparams": {"x": 1},
        "values": [0.5, None],
        "history": [{"epoch": 1, "metrics": {"loss": None}}, {"epoch": 2, "metrics": {"loss": 0.5}}],
        **changes,
    }


Started = Callable[..., tuple[Adviser, Peer, threading.Event]]


@pytest.fixture
def started() -> Iterator[Started]:
    made: list[Adviser] = []

    def start(
        optimizer: lethe.Optimizer | None, *constraints: lethe.Constraint
    ) -> tuple[Adviser, Peer, threading.Event]:
        space = lethe.SearchSpace(*constraints, x=lethe.integer(0, 9), y=lethe.choice("a", default="a"))
        search = lethe.Search(space, trials=9, metric="loss", direction="min", optimizer=optimizer)
        peer, failed = Peer(), threading.Event()
        adviser = Adviser.of(peer, "digits", search)  # type: ignore[arg-type]
        assert adviser is not None
        adviser.start(failed.set)
        made.append(adviser)
        return adviser, peer, failed

    yield start
    for adviser in made:
        adviser.close(completed=False)


def test_questions_and_news_keep_their_order(started: Started) -> None:
    optimizer = Recorder()
    adviser, peer, _ = started(optimizer)
    adviser.put({"type": "ask", "trial": 1})
    adviser.put(told_of(0))
    adviser.put({"type": "ask", "trial": 2})
    adviser.put({"type": "ask", "trial": 3})
    answers = [peer.next() for _ in range(3)]
    assert optimizer.calls == [
        ("begin", ["x", "y"], {"loss": "min"}),
        ("ask", 1),
        ("tell", 0),
        ("ask", 2),
        ("ask", 3),
    ]
    assert answers[0] == (
        "experiment.suggested",
        {"experiment": "digits", "trial": 1, "result": {"type": "hparams", "hparams": {"x": 1, "y": "a"}}},
    )
    assert answers[2][1]["result"] == {"type": "exhausted"}


def test_nothing_is_asked_of_an_optimizer_that_had_no_further_point(started: Started) -> None:
    optimizer = Recorder()
    adviser, peer, _ = started(optimizer)
    for trial in (3, 4):
        adviser.put({"type": "ask", "trial": trial})
    answers = [peer.next()[1] for _ in range(2)]
    assert [(answer["trial"], answer["result"]["type"]) for answer in answers] == [
        (3, "exhausted"),
        (4, "exhausted"),
    ]
    assert ("ask", 4) not in optimizer.calls


def test_news_arrive_with_numbers_for_null(started: Started) -> None:
    trial = told(told_of(4, state="stopped"))
    assert (trial.number, trial.state, trial.hparams) == (4, "stopped", {"x": 1})
    assert trial.values[0] == 0.5
    assert math.isnan(trial.values[1])
    assert math.isnan(trial.history[1]["loss"])
    assert trial.history[2] == {"loss": 0.5}


def test_a_slow_optimizer_does_not_hold_up_whoever_asks(started: Started) -> None:
    release = threading.Event()

    class Slow(lethe.Optimizer):
        def ask(self, trial: int) -> dict[str, Any]:
            assert release.wait(WITHIN)
            return {"x": 1}

    adviser, peer, _ = started(Slow())
    adviser.put({"type": "ask", "trial": 0})
    adviser.put({"type": "ask", "trial": 1})
    assert peer.answers.empty()
    release.set()
    assert [peer.next()[1]["trial"] for _ in range(2)] == [0, 1]


class Raises(lethe.Optimizer):
    def __init__(self, where: str) -> None:
        self._where = where

    def _raise(self, where: str) -> None:
        if where == self._where:
            raise ZeroDivisionError("no more luck")

    def begin(self, search: lethe.Search) -> None:
        self._raise("begin")

    def ask(self, trial: int) -> dict[str, Any]:
        self._raise("ask")
        return {"x": 1}

    def tell(self, trial: lethe.Trial) -> None:
        self._raise("tell")


@pytest.mark.parametrize("where", ["begin", "ask", "tell"])
def test_what_the_optimizer_raises_ends_the_search_with_its_traceback(started: Started, where: str) -> None:
    adviser, peer, failed = started(Raises(where))
    adviser.put(told_of(0))
    adviser.put({"type": "ask", "trial": 1})
    assert failed.wait(WITHIN)
    assert isinstance(adviser.error, ZeroDivisionError)
    assert adviser.error.__traceback__ is not None
    first, *frames = str(adviser.text).splitlines()
    assert first == f"{__name__}.Raises.{where} raised ZeroDivisionError: no more luck"
    assert any("in _raise" in frame for frame in frames)
    assert not any("experiment/adviser.py" in frame for frame in frames), "ours are of no use to a user"
    if where == "ask":
        kind, answer = peer.next()
        assert (kind, answer["result"]["type"]) == ("experiment.suggested", "failed")
        assert answer["result"]["error"] == adviser.text
    else:
        assert peer.answers.empty()


def test_a_suggestion_outside_the_space_is_an_error_that_names_the_parameter(started: Started) -> None:
    class Far(lethe.Optimizer):
        def ask(self, trial: int) -> dict[str, Any]:
            return {"x": 10}

    adviser, peer, failed = started(Far())
    adviser.put({"type": "ask", "trial": 6})
    error = peer.next()[1]["result"]["error"]
    assert "ask(6) answered {'x': 10}: x=integer(0, 9): 10 is not between 0 and 9" in error
    assert failed.wait(WITHIN)


def test_a_predicate_is_asked_without_an_own_optimizer(started: Started) -> None:
    adviser, peer, failed = started(None, lethe.constraint(lambda h: 6 / h["x"] > 2))
    for trial, x in enumerate((1, 3)):
        adviser.put({"type": "check", "trial": trial, "hparams": {"x": x, "y": "a"}})
    assert peer.next() == ("experiment.checked", {"experiment": "digits", "trial": 0, "refused": None})
    refused = peer.next()[1]
    assert refused["trial"] == 1
    assert "<lambda>" in refused["refused"]
    adviser.put({"type": "check", "trial": 2, "hparams": {"x": 0, "y": "a"}})
    assert "the constraint raised ZeroDivisionError" in peer.next()[1]["error"]
    assert failed.wait(WITHIN)
    assert isinstance(adviser.error, ZeroDivisionError)


def test_the_last_news_reach_the_optimizer_and_its_thread_ends(started: Started) -> None:
    optimizer = Recorder()
    adviser, _, _ = started(optimizer)
    for trial in range(100):
        adviser.put(told_of(trial))
    adviser.close(completed=True)
    assert optimizer.calls[1:] == [("tell", trial) for trial in range(100)]
    assert "lethe-adviser" not in [thread.name for thread in threading.enumerate()]


def test_a_broken_off_search_does_not_wait_for_the_optimizer(started: Started) -> None:
    entered, release = threading.Event(), threading.Event()

    class Stuck(Recorder):
        def ask(self, trial: int) -> dict[str, Any]:
            entered.set()
            assert release.wait(WITHIN)
            return {"x": 1}

    optimizer = Stuck()
    adviser, peer, failed = started(optimizer)
    adviser.put({"type": "ask", "trial": 0})
    adviser.put(told_of(1))
    assert entered.wait(WITHIN)
    adviser.close(completed=False)
    release.set()
    [thread] = [found for found in threading.enumerate() if found.name == "lethe-adviser"] or [None]
    if thread is not None:
        thread.join(WITHIN)
        assert not thread.is_alive()
    assert peer.answers.empty()
    assert ("tell", 1) not in optimizer.calls
    assert not failed.is_set()


def test_a_trial_that_never_was_is_not_told_of(started: Started) -> None:
    optimizer = Recorder()
    adviser, _, _ = started(optimizer)
    adviser.put(told_of(3, state="cancelled", hparams={}, values=[], history=[]))
    adviser.close(completed=True)
    assert [call[0] for call in optimizer.calls] == ["begin"]


def test_there_is_no_adviser_where_nothing_is_the_user_s() -> None:
    search = lethe.Search(lethe.SearchSpace(x=lethe.integer(0, 9)), trials=9, metric="loss", direction="min")
    assert Adviser.of(Peer(), "digits", search) is None  # type: ignore[arg-type]
