"""What an error of the Delta library means; its text is shown nowhere, since it may quote a row or an address."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_etl_sync.core.model import TableName
from airflow_etl_sync.errors import DestinationError, explaining
from airflow_etl_sync.faults import Blame, Fault, fault_of

if TYPE_CHECKING:
    from airflow_etl_sync.systems.delta.access import DeltaAccess

_MEANINGS: tuple[tuple[str, Blame, str], ...] = (
    (
        r"lacked the necessary privileges|AccessDenied|40[13] |InvalidAccessKeyId|SignatureDoesNotMatch|Permission",
        "person",
        "the storage refuses it: correct the credentials, or grant to list, read and write objects there",
    ),
    (
        r"NoSuchBucket|PermanentRedirect|redirect without LOCATION",
        "person",
        "there is no such bucket in that region: correct the connection",
    ),
    (r"^DeltaProtocolError", "person", "the table has features that the installed deltalake cannot write"),
    (r"^(TableNotFound|SchemaMismatch)Error", "schema", "the table is not as it was when the load began"),
    (r"[Ii]nvariant|[Cc]heck constraint|violat|non-nullable", "row", "a row breaks a constraint of the table"),
)
"""By what an error is called and says, who mends it, and what is told."""


def delta_fault_of(error: BaseException) -> Fault | None:
    """What an error means; one of PostgreSQL too, as the state tables are there."""
    kind = type(error)
    if not kind.__module__.startswith(("_internal", "deltalake")) and not isinstance(error, OSError):
        return fault_of(error)
    said = f"{kind.__name__}: {error}"
    for pattern, blame, text in _MEANINGS:
        if re.search(pattern, said):
            return Fault(None, blame, text)
    return Fault(None, "time", f"the storage or the Delta library failed ({kind.__name__})")


def refuse_unreadable(access: DeltaAccess) -> None:
    """Look for a table that is not there.

    :raises EtlSyncError: where the place cannot be read
    """
    from deltalake import DeltaTable

    with explaining(DestinationError, f"read {access.root}", delta_fault_of):
        DeltaTable.is_deltatable(access.uri(TableName("etl-sync-test")), dict(access.options()))
