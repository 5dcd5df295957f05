"""Any Flight client reads a dataset straight from the executors, given the token."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from frames import frame_of

import lethe
from lethe.application.application import Application
from lethe.application.registry import application
from lethe.session.find import active_session


@pytest.fixture(scope="module")
def owner(spark: Any, digits: pa.Table) -> Application:
    frame = frame_of(spark, digits).repartition(3)
    dataset = lethe.Dataset.from_spark(frame, features="pixels", label="digit")
    owner = application(active_session())
    dataset.stored(owner)
    return owner


def options(token: str) -> fl.FlightCallOptions:
    return fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())], timeout=30)


def test_all_partitions_are_read_where_they_lie(owner: Application, digits: pa.Table) -> None:
    known = options(owner.token)
    with fl.connect(f"grpc+tcp://{owner.address}") as driver:
        [listed] = driver.list_flights(options=known)
        name = json.loads(listed.descriptor.command)["dataset"]
        by_path = driver.get_flight_info(fl.FlightDescriptor.for_path(name), known)
        command = json.dumps({"type": "dataset", "dataset": name}).encode()
        info = driver.get_flight_info(fl.FlightDescriptor.for_command(command), known)
        schema = driver.get_schema(fl.FlightDescriptor.for_path(name), known).schema
    assert by_path.descriptor.path == [name.encode()]
    assert info.total_records == by_path.total_records == listed.total_records == digits.num_rows
    assert info.total_bytes > digits.nbytes / 2
    assert info.schema.equals(schema)
    assert schema.names == ["pixels", "digit"]
    assert len(info.endpoints) == len(by_path.endpoints) == 3
    tables = []
    for endpoint in info.endpoints:
        with fl.connect(endpoint.locations[0]) as executor:
            tables.append(executor.do_get(endpoint.ticket, known).read_all())
    read = pa.concat_tables(tables)
    assert read.schema.equals(schema)

    def rows(table: pa.Table) -> list[tuple[Any, ...]]:
        columns = (table.column(name).to_pylist() for name in ("pixels", "digit"))
        return sorted((tuple(pixels), digit) for pixels, digit in zip(*columns, strict=True))

    assert rows(read) == rows(digits)


def test_without_the_token_nothing_is_said(owner: Application) -> None:
    stranger = options("x" * 64)
    with fl.connect(f"grpc+tcp://{owner.address}") as driver:
        [listed] = driver.list_flights(options=options(owner.token))
        for refused in (
            lambda: list(driver.list_flights(options=stranger)),
            lambda: list(driver.list_flights()),
            lambda: driver.get_flight_info(listed.descriptor, stranger),
            lambda: driver.get_schema(listed.descriptor, stranger),
        ):
            # get_schema raises it as an OSError.
            with pytest.raises((fl.FlightUnauthenticatedError, OSError), match="token"):
                refused()
        endpoint = driver.get_flight_info(listed.descriptor, options(owner.token)).endpoints[0]
    with fl.connect(endpoint.locations[0]) as executor:
        for call in (stranger, None):
            with pytest.raises(fl.FlightUnauthenticatedError):
                executor.do_get(endpoint.ticket, call).read_all()


def test_what_is_no_dataset_is_named(owner: Application) -> None:
    known = options(owner.token)
    with fl.connect(f"grpc+tcp://{owner.address}") as driver:
        with pytest.raises((fl.FlightError, pa.ArrowException), match="no-such-data"):
            driver.get_flight_info(fl.FlightDescriptor.for_path("no-such-data"), known)
        with pytest.raises((fl.FlightError, pa.ArrowException), match="one dataset"):
            driver.get_flight_info(fl.FlightDescriptor.for_path("a", "b"), known)
