"""Queries in DataFusion's SQL: names and values as its text, and which columns a text speaks of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from lethe.dataset.columns import is_number, is_string
from lethe.errors import DataError

_TOKEN = re.compile(
    r"""(?P<blank>\s+|--[^\n]*|/\*.*?\*/)
    | (?P<text>'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
    | (?P<word>[^\W\d]\w*)
    | (?P<number>\d[\w.]*)
    | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
#: Before a star they make it mean all columns, not a product.
_BEFORE_STAR = {"select", "distinct", "all", "from"}
#: After one, likewise.
_AFTER_STAR = {"from", "exclude", "except", "replace", "rename", "ilike", "where", "into", "order", "limit"}
#: What reads columns without naming them.
_UNNAMED = {"natural", "pivot", "unpivot", "columns", "table"}


def quoted(name: str) -> str:
    """A column's name as SQL text: exactly this one, whatever letters it has."""
    return '"' + name.replace('"', '""') + '"'


def literal(column: str, value: Any, kind: pa.DataType) -> str:
    """A value as SQL text, of the column's type.

    Raises DataError if it is none of that type.
    """
    if is_string(kind) and isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if pa.types.is_boolean(kind) and isinstance(value, bool):
        return str(value).lower()
    number = isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)
    if is_number(kind) and number:
        if pa.types.is_integer(kind) and value != int(value):
            raise DataError(f"fill: the column {column!r} has whole numbers ({kind}), and {value!r} is none")
        shown = int(value) if pa.types.is_integer(kind) else value
        return f"arrow_cast({shown}, '{_ARROW[kind.id](kind)}')" if kind.id in _ARROW else str(shown)
    raise DataError(f"fill: the column {column!r} has type {kind}, and {value!r} is no value of it")


def _plain(kind: pa.DataType) -> str:
    name = {"halffloat": "float16", "float": "float32", "double": "float64"}.get(str(kind), str(kind))
    return name.replace("uint", "UInt").replace("int", "Int") if "int" in name else name.capitalize()


def _decimal(kind: pa.DataType) -> str:
    return f"Decimal{kind.bit_width}({kind.precision}, {kind.scale})"


_ARROW = {
    **{
        kind.id: _plain
        for kind in (
            *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()),
            *(pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
        )
    },
    **{kind.id: _decimal for kind in (pa.decimal128(1), pa.decimal256(1))},
}


def number_of(column: str, kind: pa.DataType) -> str:
    """A date as days, a time as seconds since 1970."""
    name = quoted(column)
    if pa.types.is_date32(kind):
        return f"arrow_cast({name}, 'Int32')"
    if pa.types.is_date64(kind):
        return f"arrow_cast(arrow_cast({name}, 'Date32'), 'Int32')"
    return f"to_unixtime({name})"


def one_statement(what: str, text: Any) -> str:
    """Raises DataError if it is no text. Whether it is SQL, the driver says."""
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{what} must be SQL as text, not {text!r}")
    return text.strip().rstrip(";").rstrip()


def mentions(text: str, names: Iterable[str]) -> set[str] | None:
    """The columns among `names` that the text may speak of; None where it may be all of them. A name too
    many costs only space."""
    words, before = set(), "select"
    tokens = [found for found in _TOKEN.finditer(text) if found.lastgroup != "blank"]
    for place, found in enumerate(tokens):
        token, kind = found.group(), str(found.lastgroup)
        following = tokens[place + 1].group().lower() if place + 1 < len(tokens) else ""
        if kind == "quoted":
            words.add(token[1:-1].replace('""', '"').lower())
        elif kind == "word":
            words.add(token.lower())
        elif token in ("'", '"', "`"):
            return None
        elif token == "*" and not (before == "(" and following == ")"):
            product = before not in _BEFORE_STAR and before not in (",", ".", "(")
            if not product or following in _AFTER_STAR or following in (",", ")", ""):
                return None
        before = token.lower()
    if words & _UNNAMED:
        return None
    return {name for name in names if name.lower() in words}


def starts_like_a_query(text: str) -> bool:
    """Whether what it reads can be told from its words: `from dataset` alone reads everything."""
    return bool(re.match(r"\s*(select|with|\()", text, re.IGNORECASE))
