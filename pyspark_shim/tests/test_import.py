"""`import lethe`, and what tasks import, stay light."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (
            "import lethe; lethe.Supervised; lethe.Search; lethe.lagom; lethe.Dataset; lethe.Result",
            ("torch", "pyspark"),
        ),
        ("import lethe; lethe.lagom; lethe.MLflow; lethe.TensorBoard", ("torch", "mlflow", "tensorboard")),
        (
            "import lethe; lethe.open; lethe.TPE; lethe.optuna; lethe.constraint; lethe.PBT",
            ("torch", "pyspark", "optuna"),
        ),
        (
            "import lethe.callbacks; lethe.Function; lethe.TrialStopped",
            ("torch", "keras", "lightning", "transformers", "xgboost", "lightgbm"),
        ),
        ("import lethe.task.slot, lethe.task.put", ("torch", "pyspark", "pandas", "tqdm")),
        (
            "from lethe.maggy import *; from lethe.maggy import callbacks, experiment",
            ("torch", "pyspark", "keras", "tensorflow", "lethe.callbacks"),
        ),
    ],
)
def test_heavy_packages_are_not_imported(statement: str, absent: tuple[str, ...]) -> None:
    check = f"{statement}\nimport sys\nprint([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    import lethe

    for name in dir(lethe):
        assert getattr(lethe, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lethe.nothing


def test_a_star_import_leaves_the_builtins_alone() -> None:
    import builtins

    import lethe

    assert not set(lethe.__all__) & set(dir(builtins))
    assert callable(lethe.open)
