"""An experiment whose host is lost, with its folder, goes on from its copy in an object store."""

import contextlib
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pyarrow as pa
import pytest
from conftest import lethe_processes, wait_for
from journals import events, parsed
from moto.server import ThreadedMotoServer
from programs import Program, held_after
from searches import search, training

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")

#: Long enough that what is waited for has come to the store before the end.
TRIALS, EPOCHS, BATCH = 12, 81, 4
LOCAL = """
    dataset = lethe.Dataset.from_arrow(table, features="pixels", label="digit").split(validation=0.2, seed=7)
"""
SEARCH = """
    lethe.lagom(training(epochs={epochs}, batch_size={batch}), dataset,
                search({trials}, stopping=lethe.ASHA(reduction=3)),
                spark=False, slots=1, name="lost", quiet=True, store={url!r}, store_options={options!r})
"""
BUCKET = "lethe"
SECRET = "not-to-be-written-anywhere"


@dataclass
class Store:
    """A store and a look into it that is not Lethe's."""

    url: str
    folder: Path | None = None
    options: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return self.url.split(":")[0]

    def files(self) -> dict[str, bytes]:
        """By name, below its URL. What is removed while this looks is left out."""
        read: dict[str, bytes] = {}
        if self.folder is not None:
            for path in [path for path in self.folder.rglob("*") if path.is_file()]:
                with contextlib.suppress(FileNotFoundError):
                    read[str(path.relative_to(self.folder))] = path.read_bytes()
            return read
        client = s3(self.options["aws_endpoint"])
        prefix = self.url.removeprefix(f"s3://{BUCKET}/") + "/"
        found = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        for name in [entry["Key"] for entry in found]:
            with contextlib.suppress(client.exceptions.NoSuchKey):
                read[name.removeprefix(prefix)] = client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
        return read

    def names(self, folder: str) -> set[str]:
        return {name.split("/")[-1] for name in self.files() if name.startswith(f"{folder}/")}

    def events(self) -> list[dict[str, Any]]:
        """Of the journal's segments, laid end to end."""
        files = self.files()
        return parsed(b"".join(files[name] for name in sorted(files) if name.startswith("journal/")))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def s3(endpoint: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key=SECRET,
    )


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "file":
        folder = tmp_path / "store" / "lost"
        folder.mkdir(parents=True)
        yield Store(folder.as_uri(), folder)
        return
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    s3(endpoint).create_bucket(Bucket=BUCKET)
    options = {
        "aws_endpoint": endpoint,
        "aws_region": "us-east-1",
        "aws_access_key_id": "key",
        "aws_secret_access_key": SECRET,
    }
    # The servers of one process share what they hold.
    yield Store(f"s3://{BUCKET}/{request.node.originalname}", None, options)
    server.stop()


@pytest.fixture(scope="module")
def whole(digits: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> lethe.Result:
    """The same search without an interruption."""
    return run(digits, directory=str(tmp_path_factory.mktemp("whole")))


def run(digits: pa.Table, **how: Any) -> lethe.Result:
    dataset = lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)
    train, what = training(epochs=EPOCHS, batch_size=BATCH), search(TRIALS, stopping=lethe.ASHA(reduction=3))
    return lethe.lagom(train, dataset, what, spark=False, slots=1, quiet=True, **how)


def test_a_lost_host_s_search_goes_on_from_the_store(
    store: Store, digits: pa.Table, whole: lethe.Result
) -> None:
    given = {"url": store.url, "options": store.options or None}
    folder, before = Path("lethe-runs/lost"), lethe_processes()
    with Program(LOCAL, SEARCH, "", epochs=EPOCHS, batch=BATCH, trials=TRIALS, **given) as program:
        assert wait_for(lambda: held_after(lambda: events(folder), 9, before), 60), program.process.poll()
        # Journal and checkpoints follow to the store.
        assert wait_for(lambda: store.events() == events(folder), 30)
        assert wait_for(lambda: store.names("checkpoints") == names(folder / "checkpoints"), 30)
        os.kill(program.process.pid, signal.SIGKILL)
        assert wait_for(lambda: lethe_processes() <= before, 10)
    there = store.events()
    ended = [event for event in there if event["type"] == "ended"]
    shutil.rmtree(folder)

    at = {"name": "lost", "resume": True, "store": store.url, "store_options": store.options or None}
    result = run(digits, **at)
    assert store.events()[: len(there)] == there
    assert parsed((folder / "journal.log").read_bytes()) == store.events(), "the copy is complete at the end"
    again = [event for event in store.events()[len(there) :] if event["type"] == "ended"]
    assert not {(e["trial"], e["attempt"]) for e in ended} & {(e["trial"], e["attempt"]) for e in again}

    pd.testing.assert_frame_equal(result.history, whole.history, check_exact=True)
    assert result.trials["state"].equals(whole.trials["state"])
    more = result.trials["attempts"] - whole.trials["attempts"]
    assert more.sum() == 1, "one attempt was lost with the host"
    carried = result.sql(
        "select count(*) as n from events where kind = 'assigned' and epoch >= 9 and sequence > "
        "(select max(sequence) from events where kind = 'resumed')"
    )
    assert carried["n"].iloc[0] >= 1, "from a checkpoint that came from the store"
    assert SECRET not in (folder / "journal.log").read_text()

    # Another host, once more, where there is nothing left to do.
    shutil.rmtree(folder)
    lethe.shutdown()
    later = run(digits, **at)
    pd.testing.assert_frame_equal(later.trials, result.trials, check_exact=True)
    assert later.best_model_path is not None


def test_a_new_experiment_does_not_begin_over_another_s_copy(store: Store, digits: pa.Table) -> None:
    dataset = lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)

    def run(name: str) -> lethe.Result:
        where = {"store": store.url, "store_options": store.options or None}
        return lethe.lagom(
            training(epochs=1), dataset, search(2), spark=False, quiet=True, name=name, slots=1, **where
        )

    run(f"first-in-{store.kind}")
    files = store.files()
    with pytest.raises(lethe.ExperimentError) as caught:
        run("second")
    assert "there is an experiment's journal already: " in str(caught.value)
    assert f"{store.url.rsplit('/', 1)[-1]}/journal in " in str(caught.value)
    assert store.files() == files
    assert not Path("lethe-runs/second").exists(), "its name is free"


def test_a_store_that_is_not_there_is_an_error_before_anything_runs(digits: pa.Table) -> None:
    dataset = lethe.Dataset.from_arrow(digits, features="pixels", label="digit").split(validation=0.2, seed=7)
    options = {"aws_endpoint": "http://127.0.0.1:9", "aws_region": "us-east-1", "aws_skip_signature": "true"}
    with pytest.raises(lethe.ExperimentError, match=r"runs/journal in AmazonS3\(nowhere\)"):
        lethe.lagom(
            training(epochs=1),
            dataset,
            search(2),
            spark=False,
            quiet=True,
            name="nowhere",
            store="s3://nowhere/runs",
            store_options=options,
        )
    assert not Path("lethe-runs/nowhere").exists()
