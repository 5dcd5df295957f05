"""Which GPU a slot gets where there is no Spark to say."""

import os

import pytest

from lethe.experiment.slots import first_gpu


@pytest.mark.parametrize(("there", "gpu"), [(True, "0"), (False, None)])
def test_without_spark_the_first_gpu_is_taken_if_there_is_one(
    there: bool, gpu: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "exists", lambda path: there and path == "/dev/nvidia0")
    assert first_gpu() == gpu
