"""The extras of connections whose forms come from other providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection


def known_extras(conn_id: str, connection: Any, prefix: str, taken: Collection[str]) -> dict[str, Any]:
    """What is set, with the names that older forms prefixed.

    :param taken: the names of the extras that are taken
    :raises ConfigurationError: naming those that are not
    """
    given = {name.removeprefix(prefix): value for name, value in connection.extra_dejson.items()}
    extras = {name: value for name, value in given.items() if value not in (None, "", False)}
    unknown = sorted(extras.keys() - set(taken))
    if unknown:
        raise ConfigurationError(
            f"The extra of the connection {conn_id!r} holds {', '.join(map(repr, unknown))}, which "
            f"{'is' if len(unknown) == 1 else 'are'} not taken here: use {', '.join(sorted(taken))}."
        )
    return extras
