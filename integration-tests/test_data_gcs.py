"""`gs://` over the XML API of Google's store, which an S3 server speaks as far as files are concerned."""

import io
import json
from collections.abc import Iterator

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

import lethe

pytestmark = pytest.mark.usefixtures("no_process_left")


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_files_in_a_bucket_of_google_s_are_a_dataset(endpoint: str) -> None:
    client = boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1"
    )
    client.create_bucket(Bucket="gdata")
    for part in range(3):
        rows = pa.table({"a": pa.array(range(100 * part, 100 * part + 100), pa.float32()), "y": [0, 1] * 50})
        file = io.BytesIO()
        pq.write_table(rows, file)
        client.put_object(
            Bucket="gdata", Key=f"day={part}/rows.parquet", Body=file.getvalue(), ACL="public-read"
        )
    account = {
        "gcs_base_url": endpoint,
        "disable_oauth": True,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    }
    options = {"google_service_account_key": json.dumps(account)}
    data = lethe.Dataset.from_files("gs://gdata/*/*.parquet", ["a"], "y", options=options)
    features, labels = data.train.to_numpy()
    assert features[:, 0].tolist() == list(map(float, range(300)))
    assert labels.sum() == 150
    with pytest.raises(lethe.DataError, match="gs://gdata/none"):
        _ = lethe.Dataset.from_files(
            "gs://gdata/none/*.parquet", ["a"], "y", options=options
        ).train.to_numpy()
