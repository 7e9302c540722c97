"""``python -m tests.page.pictures FOLDER``: pictures of the page and of the connection form, from a running Airflow."""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

from airflow_etl_sync.demo.postgres import EmbeddedPostgres
from airflow_etl_sync.demo.shop import Shop
from tests.page.browser import Browser, opened
from tests.page.deployment import Deployment, deployed

SHOP = Path(__file__).with_name("shop")
RUNS = 19
RUN_SECONDS = 300.0
FRAME = "/plugin/etl-sync/etl_sync/"
ORDERS = urlencode({"conn_id": "warehouse", "sync_key": "orders"})

PAGES = {
    "list": FRAME,
    "sync": f"{FRAME}sync?{ORDERS}",
    "rewind": f"{FRAME}rewind?{ORDERS}&back=P7D",
}


def run_shop(deployment: Deployment) -> None:
    """Let all syncs run by their schedules but one, and some of them a few times more."""
    deployment.ask("CREATE TABLE public.customers (id bigint PRIMARY KEY, email text CHECK (strpos(email, '@') > 0))")
    deployment.change_shop("UPDATE public.users SET email = 'none ' || id WHERE id <= 3")
    running = ("orders", "customers", "invoices", "live")
    for dag_id in running:
        deployment.api.unpause(dag_id)
    for dag_id in running:
        wait_for_a_run(deployment, dag_id, "failed" if dag_id == "invoices" else "success")
    shop = Shop(deployment.shop_db)
    for number in range(RUNS):
        shop.change_orders(first=number * 70, orders=50 + number * 211 % 600)
        shop.add_orders(10 + number * 59 % 370)
        deployment.load("orders", "orders")
        deployment.load("customers", "customers", "users", "customers", max_errors=10)
        if number == RUNS // 2:
            deployment.change_shop("ALTER TABLE public.orders ADD COLUMN note text")
        deployment.change_shop("UPDATE public.users SET name = name || '.' WHERE id %% 40 = %s", number)


def wait_for_a_run(deployment: Deployment, dag_id: str, state: str) -> None:
    """Wait until Airflow has ended a run of a DAG in a state."""
    deadline = time.monotonic() + RUN_SECONDS
    while time.monotonic() < deadline:
        runs = deployment.api.send("GET", f"/api/v2/dags/{dag_id}/dagRuns").raise_for_status().json()["dag_runs"]
        if any(run["state"] == state for run in runs):
            return
        time.sleep(1)
    raise TimeoutError(f"No run of {dag_id} has ended in {state}.")


def take(deployment: Deployment, folder: Path) -> None:
    """Save a picture of each page in light and dark, and of the connection form."""
    folder.mkdir(parents=True, exist_ok=True)
    with opened(deployment, "admin") as browser:
        for theme in ("light", "dark"):
            browser.open("/static/pin_32.png")
            browser.choose_theme(theme)
            for name, address in PAGES.items():
                browser.open(address)
                browser.enter_page()
                save(browser, folder / f"{name}-{theme}.png")
        browser.open("/static/pin_32.png")
        browser.choose_theme("light")
        open_connection_form(browser)
        save(browser, folder / "connection-form.png")


def open_connection_form(browser: Browser) -> None:
    """The form of the connection type for change data capture, at the fields of its own."""
    browser.open("/connections")
    browser.until("[...document.querySelectorAll('tr')].some(row => row.textContent.includes('shop_cdc'))")
    browser.chrome.execute_script(
        "[...document.querySelectorAll('tr')].find(row => row.textContent.includes('shop_cdc'))"
        ".querySelector('[aria-label*=dit]').click()"
    )
    browser.see("[role=dialog]")
    browser.see("[role=dialog] [aria-expanded=true]")
    browser.press("Extra Fields")
    tables = "[...document.querySelectorAll('[role=dialog] label')].find(each => each.textContent.trim() === 'Tables')"
    browser.until(f"{tables}?.checkVisibility()")
    browser.chrome.execute_script(f"{tables}.scrollIntoView({{block: 'center'}})")


def save(browser: Browser, path: Path) -> None:
    """The whole screen, when what moves on it has come to rest."""
    time.sleep(1)
    browser.chrome.switch_to.default_content()
    browser.chrome.save_screenshot(str(path))


def main() -> None:
    """Start everything, take the pictures, stop everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        deployment = stack.enter_context(
            deployed(postgres.databases, home / "airflow", SHOP, orders=3_000, has_schedules=True)
        )
        run_shop(deployment)
        take(deployment, folder)


if __name__ == "__main__":
    main()
