"""The options of object stores, by the names of the crate object_store, as filesystems of pyarrow take them.

They come from the environment, for S3 from Spark's settings, and from the user's `store_options`, the later
before the earlier, as those of datasets do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from lethe.errors import ConfigError

#: Names that mean the same, by what pyarrow calls it.
_S3 = {
    "access_key": ("aws_access_key_id", "access_key_id"),
    "secret_key": ("aws_secret_access_key", "secret_access_key"),
    "session_token": ("aws_session_token", "aws_token", "session_token", "token"),
    "region": ("aws_region", "aws_default_region", "region", "default_region"),
    "endpoint": ("aws_endpoint", "aws_endpoint_url", "endpoint", "endpoint_url"),
    "virtual": ("aws_virtual_hosted_style_request", "virtual_hosted_style_request"),
    "anonymous": ("aws_skip_signature", "skip_signature"),
    "http": ("aws_allow_http", "allow_http"),
}
_AZURE = {
    "account_name": ("azure_storage_account_name", "account_name"),
    "account_key": ("azure_storage_account_key", "azure_storage_access_key", "account_key", "access_key"),
    "sas_token": ("azure_storage_sas_token", "azure_storage_sas_key", "sas_token", "sas_key"),
    "tenant_id": ("azure_storage_tenant_id", "azure_tenant_id", "tenant_id"),
    "client_id": ("azure_storage_client_id", "azure_client_id", "client_id"),
    "client_secret": ("azure_storage_client_secret", "azure_client_secret", "client_secret"),
}
_GOOGLE = {"endpoint": ("google_base_url", "base_url"), "anonymous": ("google_skip_signature",)}


def s3(options: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of `pyarrow.fs.S3FileSystem`.

    Raises ConfigError, which names an option that there is not, never a value.
    """
    found = _told(_S3, "s3", options)
    given: dict[str, Any] = {
        name: found[name] for name in ("access_key", "secret_key", "session_token", "region") if name in found
    }
    if "session_token" in given and "access_key" not in given:
        del given["session_token"]
    # A region is only asked for where an address does not tell it; servers of one's own take any.
    if "endpoint" in found:
        given |= _address(found["endpoint"])
        given.setdefault("region", "us-east-1")
        given["force_virtual_addressing"] = _flag(found.get("virtual"))
    if _flag(found.get("anonymous")):
        given = {name: value for name, value in given.items() if name not in ("access_key", "secret_key")}
        given["anonymous"] = True
    return given


def azure(options: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of `pyarrow.fs.AzureFileSystem`, but for the account where the URL names it.

    Raises ConfigError as `s3` does.
    """
    return dict(_told(_AZURE, "az", options))


def google(options: Mapping[str, str]) -> dict[str, Any]:
    """Arguments of `pyarrow.fs.GcsFileSystem`, which finds Google's credentials by itself.

    Raises ConfigError as `s3` does.
    """
    found = _told(_GOOGLE, "gs", options)
    given: dict[str, Any] = _address(found["endpoint"]) if "endpoint" in found else {}
    if _flag(found.get("anonymous")):
        given["anonymous"] = True
    return given


def _told(names: Mapping[str, tuple[str, ...]], scheme: str, options: Mapping[str, str]) -> dict[str, str]:
    """Values of the environment, then of the options, by what pyarrow calls them."""
    meant = {other: name for name, others in names.items() for other in others}
    found: dict[str, str] = {}
    for option, name in meant.items():
        value = (
            os.environ.get(option.upper()) if "_" in option and option.split("_")[0] in _PREFIXES else None
        )
        if value:
            found.setdefault(name, value)
    for option, value in options.items():
        name = meant.get(option.lower(), "")
        if not name:
            known = ", ".join(others[0] for others in names.values())
            raise ConfigError(f"store_options: {scheme}:// has no option {option!r}; there are: {known}")
        found[name] = value
    return found


_PREFIXES = ("aws", "azure", "google")


def _address(url: str) -> dict[str, Any]:
    parts = urlsplit(url if "://" in url else f"https://{url}")
    return {"endpoint_override": parts.netloc + parts.path.rstrip("/"), "scheme": parts.scheme}


def _flag(value: str | None) -> bool:
    return (value or "").lower() in ("true", "1", "yes", "on")
