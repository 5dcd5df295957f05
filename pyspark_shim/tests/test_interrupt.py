"""SIGTERM during an experiment."""

import os
import signal
import threading

import pytest

import lethe
from lethe.experiment.interrupt import terminable


def test_sigterm_raises_and_the_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def told_to_end() -> None:
        with terminable():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    with pytest.raises(lethe.Terminated) as caught:
        told_to_end()
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    before, within = signal.getsignal(signal.SIGTERM), []

    def run() -> None:
        with terminable():
            within.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(10)
    assert within == [before]
