"""The session that `lagom` was given, or the active one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lethe.errors import ConfigError
from lethe.session.base import Session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def session_of(spark: SparkSession) -> Session:
    """Raises ConfigError if it is no Spark session, or a stopped one."""
    session = _wrap(spark)
    if session is None:
        raise ConfigError(
            f"spark must be a SparkSession, None (the active one) or False (none), not {spark!r}"
        )
    if not session.alive():
        raise ConfigError(
            "the Spark session has been stopped; make a new one: SparkSession.builder.getOrCreate()"
        )
    return session


def active_session() -> Session | None:
    """The active session, classic or Connect. Imports nothing: who has a session has imported pyspark."""
    for module in ("pyspark.sql.session", "pyspark.sql.connect.session"):
        loaded = sys.modules.get(module)
        if loaded is None:
            continue
        found = loaded.SparkSession.getActiveSession()
        if found is None and module == "pyspark.sql.connect.session":
            found = loaded.SparkSession._get_default_session()
        session = None if found is None else _wrap(found)
        if session is not None and session.alive():
            return session
    return None


def _wrap(spark: Any) -> Session | None:
    module = type(spark).__module__
    if module.startswith("pyspark.sql.connect"):
        from lethe.session.connect import ConnectSession

        return ConnectSession(spark)
    if module.startswith("pyspark.sql"):
        from lethe.session.classic import ClassicSession

        return ClassicSession(spark)
    return None
