"""Transforms that come with the package: masks for personal data.

They run on the rows between staging and destination: what is not masked never reaches the destination.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Mask", "mask"]

_SHORTEST_SECRET = 16
_TEXT_TYPES = ("text", "character", "bpchar", "name")
_PARTLY = (
    (r"(?s)^(.).+(@[^@]*)$", r"\1***\2"),
    (r"(?s)^.?(@[^@]*)$", r"***\1"),
    (r"(?s)^([^@])[^@]{2,}$", r"\1***"),
    (r"(?s)^[^@]{1,2}$", r"***"),
)
"""What a text becomes, by the first of these that it matches."""


def mask(
    *,
    hash: str | Sequence[str] = (),  # noqa: A002 - the word for it
    null: str | Sequence[str] = (),
    partial: str | Sequence[str] = (),
    secret_variable: str | None = None,
    secret_conn_id: str | None = None,
) -> Mask:
    """Make a transform that masks columns of personal data.

    :param hash: columns that become the HMAC-SHA-256 of their value's text under the secret, 64 hexadecimal digits.
        Equal values stay equal, also across tables and runs, so that they can be joined and counted
    :param null: columns that become NULL
    :param partial: text columns of which the first character stays, and what comes after an ``@``:
        ``a***@example.com``, ``S***``; of up to two characters, nothing stays
    :param secret_variable: the Airflow variable that holds the secret; it or ``secret_conn_id`` is needed for ``hash``
    :param secret_conn_id: the Airflow connection whose password is the secret
    :raises ConfigurationError: where a column is named twice, none is named, or the secret's place is not told
    """
    columns = {"hash": _names(hash), "null": _names(null), "partial": _names(partial)}
    every = [name for names in columns.values() for name in names]
    twice = next((name for name in every if every.count(name) > 1), None)
    if twice is not None or not every:
        raise ConfigurationError(
            f"mask names {f'the column {twice!r} twice' if twice else 'no column'}: name each that is masked once."
        )
    if columns["hash"] and (secret_variable is None) == (secret_conn_id is None):
        raise ConfigurationError("mask hashes with a secret: give exactly one of secret_variable and secret_conn_id.")
    return Mask(**columns, secret_variable=secret_variable, secret_conn_id=secret_conn_id)


@dataclass(slots=True, kw_only=True)
class Mask:
    """A transform of :func:`mask`."""

    hash: tuple[str, ...]
    null: tuple[str, ...]
    partial: tuple[str, ...]
    secret_variable: str | None
    secret_conn_id: str | None
    _secret: bytes | None = field(default=None, init=False, repr=False)

    def get_ready(self) -> None:
        """Ask Airflow for the secret.

        :raises ConfigurationError: where there is none, or it is too short to be one
        """
        if self.hash and self._secret is None:
            self._secret = _secret_of(self.secret_variable, self.secret_conn_id)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """The rows, masked.

        :raises ConfigurationError: where a column that is to be masked is not there, or cannot be
        """
        import pyarrow as pa

        self.get_ready()
        for name in (*self.hash, *self.null, *self.partial):
            if name not in rows.column_names:
                raise ConfigurationError(f"mask names the column {name!r}, which the rows do not have: correct it.")
            place, old = rows.schema.get_field_index(name), rows.schema.field(name)
            if name in self.null:
                rows = rows.set_column(place, old, pa.nulls(rows.num_rows, old.type))
            else:
                made = _hashed(old, rows.column(name), self._secret or b"") if name in self.hash else _partly(old, rows)
                rows = rows.set_column(place, _as_text(name), made)
        return rows


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _as_text(name: str) -> pa.Field:
    import pyarrow as pa

    from airflow_etl_sync.core.columns import ColumnTypes, inferred

    return inferred(name, pa.string(), ColumnTypes("text", "text"))


def _hashed(old: pa.Field, column: pa.ChunkedArray, secret: bytes) -> pa.Array:
    """Each value's HMAC; one that stands many times is hashed once."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from airflow_etl_sync.systems.postgres.texts import text_of_value

    values = pc.unique(column)
    texts = [text_of_value(old, value) for value in values]
    hashes = [None if text is None else hmac.digest(secret, text.encode(), "sha256").hex() for text in texts]
    return pa.array(hashes, pa.string()).take(pc.index_in(column, values).combine_chunks())


def _partly(old: pa.Field, rows: pa.Table) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    from airflow_etl_sync.core.columns import types_of

    is_text = pa.types.is_string(old.type) or pa.types.is_large_string(old.type)
    is_declared = not old.metadata or types_of(old).base.startswith(_TEXT_TYPES)
    if not (is_text and is_declared):
        raise ConfigurationError(
            f"mask keeps a part of texts, and column {old.name!r} is none: use hash or null for it."
        )
    texts = made = rows.column(old.name).cast(pa.string())
    for pattern, left in reversed(_PARTLY):
        matches = pc.match_substring_regex(texts, pattern)
        made = pc.if_else(matches, pc.replace_substring_regex(texts, pattern, left), made)
    return made


def _secret_of(variable: str | None, conn_id: str | None) -> bytes:
    secret = _password_of(conn_id) if conn_id else _variable(str(variable))
    if len(secret or "") < _SHORTEST_SECRET:
        place = f"the connection {conn_id!r} as its password" if conn_id else f"the variable {variable!r}"
        raise ConfigurationError(
            f"mask needs a secret of at least {_SHORTEST_SECRET} characters in {place}: put one there, at random."
        )
    return str(secret).encode()


def _variable(name: str) -> str | None:
    from airflow.sdk import Variable

    value: Any = Variable.get(name, default=None)
    return None if value is None else str(value)


def _password_of(conn_id: str) -> str | None:
    from airflow.providers.common.compat.sdk import BaseHook

    from airflow_etl_sync.hooks.connections import require_connection

    require_connection(conn_id)
    password: str | None = BaseHook.get_connection(conn_id).password
    return password
