"""Credentials that Spark has for S3, by the names that Lethe's processes know."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

#: Options of the crate object_store by those of Hadoop's S3A.
_PLAIN = {
    "access.key": "aws_access_key_id",
    "secret.key": "aws_secret_access_key",
    "session.token": "aws_session_token",
    "endpoint.region": "aws_region",
}
S3 = ("s3", "s3a", "s3n")


def s3_options(url: str, spark: Any) -> dict[str, str]:
    """What the session's `spark.hadoop.fs.s3a.*` say of this URL's bucket, as options of the crate
    object_store; nothing for URLs of other stores, or without a session."""
    parts = urlsplit(url)
    if spark is None or parts.scheme not in S3:
        return {}

    def setting(name: str) -> str | None:
        for prefix in (f"fs.s3a.bucket.{parts.netloc}.", "fs.s3a."):
            found = spark.conf.get(f"spark.hadoop.{prefix}{name}", None)
            if found:
                return str(found)
        return None

    found = {option: value for name, option in _PLAIN.items() if (value := setting(name)) is not None}
    path_style = setting("path.style.access")
    if path_style is not None:
        found["aws_virtual_hosted_style_request"] = "false" if path_style.lower() == "true" else "true"
    endpoint, encrypted = setting("endpoint"), (setting("connection.ssl.enabled") or "true").lower() == "true"
    if endpoint is not None:
        if "://" not in endpoint:
            endpoint = f"{'https' if encrypted else 'http'}://{endpoint}"
        found["aws_endpoint"] = endpoint
        if endpoint.startswith("http://"):
            found["aws_allow_http"] = "true"
    return found
