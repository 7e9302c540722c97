"""Who looks at the page, and what Airflow's own permissions let them see and do here.

A sync is seen by those who may read one of its DAGs, and changed by those who may edit all of them. Row values, and
syncs that no DAG of this Airflow has, belong to those who may read the connection: they could look into the database.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, ConnectionDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_view
from fastapi import Depends

signed_in = requires_access_view(AccessView.WEBSITE)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A user of Airflow.

    :param name: who is recorded when they change something
    """

    name: str
    user: Any
    readable: frozenset[str]
    editable: frozenset[str]

    @property
    def user_id(self) -> str:
        """By which forms are known to be this user's."""
        return str(self.user.get_id())

    def may_see(self, dag_ids: Collection[str], conn_id: str) -> bool:
        """Whether a sync of these DAGs is shown."""
        return not self.readable.isdisjoint(dag_ids) if dag_ids else self.may_see_values(conn_id)

    def may_change(self, dag_ids: Collection[str], conn_id: str) -> bool:
        """Whether a sync of these DAGs can be rewound, reset and replayed."""
        return self.editable.issuperset(dag_ids) if dag_ids else self._may(conn_id, "PUT")

    def may_load(self, dag_id: str, conn_id: str) -> bool:
        """Whether rows may be loaded by a connection that a DAG's runs load by."""
        return dag_id in self.editable or self._may(conn_id, "PUT")

    def may_see_values(self, conn_id: str) -> bool:
        """Whether people's data is shown, when it is asked for."""
        return self._may(conn_id, "GET")

    def told(self, conn_id: str, trouble: str) -> str:
        """What a database's driver says may name host and login: it is for those who may read the connection."""
        if self.may_see_values(conn_id):
            return trouble
        return "It cannot be read now. Somebody who may read the connection is told why."

    def _may(self, conn_id: str, method: Any) -> bool:
        details = ConnectionDetails(conn_id=conn_id, team_name=_team_of(conn_id))
        return get_auth_manager().is_authorized_connection(method=method, details=details, user=self.user)


def visitor_of(user: GetUserDep) -> Visitor:
    """The user of a request, by Airflow's own authentication."""
    manager = get_auth_manager()
    return Visitor(
        name=user.get_name(),
        user=user,
        readable=frozenset(manager.get_authorized_dag_ids(user=user, method="GET")),
        editable=frozenset(manager.get_authorized_dag_ids(user=user, method="PUT")),
    )


VisitorDep = Annotated[Visitor, Depends(visitor_of)]


def _team_of(conn_id: str) -> str | None:
    from airflow.configuration import conf
    from airflow.models.connection import Connection

    if not conf.getboolean("core", "multi_team", fallback=False):
        return None
    return Connection.get_team_name(conn_id)
