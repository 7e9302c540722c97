"""The options that commands share."""

from __future__ import annotations

import argparse
import getpass
from typing import TYPE_CHECKING

from airflow_etl_sync.core.watermark_change import Signature
from airflow_etl_sync.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Engine


def form() -> argparse.ArgumentParser:
    """The option of every command: in which form the answer is written."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--json", action="store_true", help="answer in JSON")
    return options


def place_and_form() -> argparse.ArgumentParser:
    """The options of the commands on one database: which one, and in which form the answer is written."""
    options = argparse.ArgumentParser(add_help=False, parents=[form()])
    options.add_argument(
        "--conn-id", required=True, metavar="ID", help="Airflow connection of the database with the schema etl_sync"
    )
    return options


def signature() -> argparse.ArgumentParser:
    """The options of every command that changes something: who and why."""
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("--reason", required=True, metavar="TEXT", help="why, for those who wonder later")
    options.add_argument("--by", metavar="NAME", help="who is recorded; by default the system's user")
    return options


def signature_of(given: argparse.Namespace) -> Signature:
    """Who asks for a change, and why."""
    return Signature(by=_user() if given.by is None else given.by, reason=given.reason)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ConfigurationError("The system has no name for its user: say with --by who changes this.") from None


def engine_of(given: argparse.Namespace) -> Engine:
    """The database that ``--conn-id`` names."""
    from airflow_etl_sync.hooks.connections import postgres_access

    return postgres_access(given.conn_id).engine()
