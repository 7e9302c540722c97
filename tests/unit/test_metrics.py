"""The name of a sync as a tag of its metrics."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import pytest

from airflow_etl_sync.observability.metrics import tag_of

STRANGE = ["orders, all", "orders=all", "orders all", "заказы", "a:1|c\nb:2|c", "o" * 250]


@pytest.mark.parametrize("sync_key", ["orders", "shop.orders_2", "shop/orders-hourly"])
def test_a_plain_key_is_its_own_tag(sync_key: str) -> None:
    assert tag_of(sync_key) == sync_key


@pytest.mark.parametrize("sync_key", STRANGE)
def test_airflow_sends_the_tag_of_any_key(sync_key: str) -> None:
    stat_name_default_handler = _airflow_check()
    stat = f"airflow.etl_sync.rows.processed_and_more.sync_key.{tag_of(sync_key)}"
    assert stat_name_default_handler(stat) == stat


def test_keys_that_had_to_be_changed_stay_apart() -> None:
    assert len({tag_of(key) for key in [*STRANGE, "orders; all", "отзывы", "o" * 249]}) == len(STRANGE) + 3


def _airflow_check() -> Callable[[str], str]:
    """What Airflow does to the name of a metric; before 3.3 it stands elsewhere."""
    places = ("airflow.sdk._shared.observability.metrics.validators", "airflow.metrics.validators")
    place = next(place for place in places if _is_there(place))
    check: Callable[[str], str] = import_module(place).stat_name_default_handler
    return check


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
