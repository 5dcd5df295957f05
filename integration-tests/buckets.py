"""A real S3-compatible server that lets in only who signs with the right key, and files by HTTP."""

from __future__ import annotations

import functools
import json
import os
import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

import boto3
from moto import settings
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
ALLOWED = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


@dataclass(frozen=True)
class Bucket:
    """The bucket `data` of a server on loopback, and the key that opens it."""

    endpoint: str
    key: str
    secret: str
    client: Any

    @property
    def options(self) -> dict[str, str]:
        return {
            "aws_endpoint": self.endpoint,
            "aws_region": REGION,
            "aws_access_key_id": self.key,
            "aws_secret_access_key": self.secret,
        }

    @property
    def environment(self) -> dict[str, str]:
        return {name.upper(): value for name, value in self.options.items()}

    @property
    def s3a(self) -> dict[str, str]:
        """Spark's settings of it."""
        settings = {
            "access.key": self.key,
            "secret.key": self.secret,
            "endpoint": self.endpoint,
            "endpoint.region": REGION,
            "path.style.access": "true",
        }
        return {f"spark.hadoop.fs.s3a.{name}": value for name, value in settings.items()}

    def upload(self, folder: Path, prefix: str) -> str:
        """All files of a folder; its URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.client.upload_file(str(path), "data", f"{prefix}/{path.relative_to(folder)}")
        return f"s3://data/{prefix}/"


@contextmanager
def serving() -> Iterator[Bucket]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint, without = f"http://{host}:{port}", settings.INITIAL_NO_AUTH_ACTION_COUNT

    def client(service: str, key: str, secret: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
        )

    try:
        iam = client("iam", "anyone", "anything")
        # What moto's servers of one process hold is shared: those of another module are there still.
        reset = urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset, timeout=10).close()
        iam.create_user(UserName="reader")
        iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=json.dumps(ALLOWED))
        made = iam.create_access_key(UserName="reader")["AccessKey"]
        # From here each request's signature is checked.
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
        key, secret = made["AccessKeyId"], made["SecretAccessKey"]
        s3 = client("s3", key, secret)
        s3.create_bucket(Bucket="data")
        yield Bucket(endpoint, key, secret, s3)
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = without
        server.stop()


def holds(folder: Path, secret: str) -> list[Path]:
    """Files below the folder in which the secret stands."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and secret.encode() in path.read_bytes():
            found.append(path)
    return found


class Plain(SimpleHTTPRequestHandler):
    """Whole files only."""

    def log_message(self, *_: object) -> None:
        pass


class Ranges(Plain):
    """Parts of files too, as web servers give them; counts bytes of bodies."""

    sent = 0

    def send_head(self) -> Any:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None:
            return super().send_head()
        path = self.translate_path(self.path)
        size, begin, end = os.path.getsize(path), int(asked[1]), int(asked[2])
        end = min(end, size - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {begin}-{end}/{size}")
        self.send_header("Content-Length", str(end + 1 - begin))
        self.send_header("Last-Modified", self.date_time_string(int(os.path.getmtime(path))))
        self.end_headers()
        file = open(path, "rb")  # noqa: SIM115 (the caller closes it)
        file.seek(begin)
        self.left = end + 1 - begin
        return file

    def copyfile(self, source: BinaryIO, outputfile: BinaryIO) -> None:  # type: ignore[override]
        content = source.read(getattr(self, "left", -1))
        Ranges.sent += len(content)
        outputfile.write(content)


@contextmanager
def by_http(folder: Path, handler: type[Plain]) -> Iterator[str]:
    """The URL of a server of the folder's files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
