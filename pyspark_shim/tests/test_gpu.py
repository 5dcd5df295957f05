"""Which slots get a GPU where there is no Spark to say, and workers of which some have none."""

import glob
import threading

import pytest

from lethe.errors import LetheError
from lethe.experiment.slots import gpus
from lethe.worker.gang.devices import same_devices


@pytest.mark.parametrize(
    ("there", "slots", "together", "expected"),
    [(0, 4, False, 0), (1, 4, False, 1), (4, 2, False, 2), (4, 2, True, 2), (1, 2, True, 0), (0, 2, True, 0)],
)
def test_without_spark_the_first_slots_have_one_each(
    there: int, slots: int, together: bool, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        glob, "glob", lambda path: {"/dev/nvidia[0-9]*": [f"/dev/nvidia{n}" for n in range(there)]}[path]
    )
    assert gpus(slots, together) == expected


class Memory:
    """A store of the process; `get` waits, as that of a gang does."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._changed = threading.Condition()

    def set(self, key: str, value: bytes | str) -> None:
        with self._changed:
            self._values[key] = value.encode() if isinstance(value, str) else value
            self._changed.notify_all()

    def get(self, key: str) -> bytes:
        with self._changed:
            assert self._changed.wait_for(lambda: key in self._values, 10)
            return self._values[key]


@pytest.mark.parametrize("have", [(True, True, True), (False, False), (True, False), (False, True, True)])
def test_workers_with_and_without_a_gpu_do_not_begin(have: tuple[bool, ...]) -> None:
    store, said = Memory(), {}

    def rank(number: int) -> None:
        try:
            same_devices(store, number, len(have), have[number])
            said[number] = ""
        except LetheError as error:
            said[number] = str(error)

    ranks = [threading.Thread(target=rank, args=(number,)) for number in range(len(have))]
    for one in ranks:
        one.start()
    for one in ranks:
        one.join()
    if len(set(have)) == 1:
        assert set(said.values()) == {""}
        return
    assert len(set(said.values())) == 1, "all are told the same"
    without = have.index(False)
    assert said[0].startswith(
        f"worker {without} of {len(have)} has no GPU, and others have one: give each slot one"
    )
