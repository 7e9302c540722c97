"""The page in a real browser, inside of Airflow: seen, followed, confirmed, and harmless."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
from selenium.webdriver.common.by import By

from tests.page.browser import Browser, find_browser, opened
from tests.page.bundle.syncs import HOSTILE
from tests.page.deployment import POISON, Deployment

REQUIRED = "ETL_SYNC_REQUIRE_BROWSER"
FRAME = "/plugin/etl-sync/etl_sync/"
GUESTS = urlencode({"conn_id": "warehouse", "sync_key": HOSTILE})


pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(scope="module")
def installed() -> None:
    """Whether there is a browser at all."""
    if find_browser() is None:
        missing = "Chromium or ChromeDriver is not here: install Debian's packages chromium and chromium-driver"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{missing}, which {REQUIRED} asks for.")
        pytest.skip(missing)


@pytest.fixture(scope="module")
def admin(installed: None, deployment: Deployment) -> Iterator[Browser]:
    """An administrator at a screen."""
    with opened(deployment, "admin") as browser:
        yield browser


@pytest.fixture(autouse=True)
def no_complaints(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing is refused, missing or asked of another host while a test looks at the page."""
    yield
    if "admin" in request.fixturenames:
        assert request.getfixturevalue("admin").complaints() == []


def watermark(deployment: Deployment, sync_key: str = "orders") -> str:
    ((value,),) = deployment.ask("SELECT cursor_value FROM etl_sync.watermark WHERE sync_key = %s", sync_key)
    return str(value)


def background(browser: Browser) -> str:
    return browser.see("body").value_of_css_property("background-color")


def test_the_navigation_leads_to_the_page(admin: Browser) -> None:
    admin.open("/")
    admin.see("a[href*='plugin/etl-sync']").click()
    admin.enter_page()
    said = admin.text()
    for expected in ("orders_broken", "has failed, task sync, try 1 of 1.", "Connection refused", "keeps"):
        assert expected in said
    assert len(admin.chrome.find_elements(By.CSS_SELECTOR, "svg.spark path.bars")) >= 8
    loaded = admin.chrome.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert len(loaded) == 2 and all(name.startswith(admin.address) for name in loaded)


def test_light_and_dark_follow_airflow(admin: Browser) -> None:
    seen = {}
    for theme in ("light", "dark"):
        admin.open("/static/pin_32.png")
        admin.choose_theme(theme)
        admin.open()
        admin.enter_page()
        seen[theme] = background(admin)
    assert seen["light"] == "rgba(255, 255, 255, 1)" != seen["dark"]

    admin.chrome.switch_to.default_content()
    admin.chrome.execute_script("document.documentElement.className = 'light'")
    admin.enter_page()
    admin.until("document.documentElement.dataset.theme === 'light'")
    assert background(admin) == seen["light"]


def test_a_rewind_is_shown_confirmed_and_done(deployment: Deployment, admin: Browser) -> None:
    before = watermark(deployment)
    admin.open()
    admin.enter_page()
    admin.click("orders")
    admin.click("Rewind…")
    admin.see("input[name=back]").send_keys("PT1H")
    admin.click("Show what it would do")
    assert before in admin.see(".from-to").text
    to = admin.see(".from-to .new").text
    admin.click("No, back")
    assert watermark(deployment) == before

    admin.see("input[name=back]").send_keys("PT1H")
    admin.click("Show what it would do")
    admin.see("button.danger").click()
    assert watermark(deployment) == before, "without a reason the browser sends nothing"
    admin.see("input[name=reason]").send_keys("prices were wrong")
    admin.click("Rewind")
    assert "the next run starts at the new watermark" in admin.see("[role=status]").text
    assert watermark(deployment) == to
    assert "admin rewind" in admin.text() and "prices were wrong" in admin.text()


def test_hostile_texts_stay_texts_and_values_come_when_asked_for(admin: Browser) -> None:
    admin.open(f"{FRAME}failed?{GUESTS}")
    admin.enter_page()
    assert HOSTILE in admin.text() and POISON not in admin.text()
    admin.click("Show values")
    assert admin.text().count(POISON) >= 3
    titles = [admin.chrome.execute_script("return document.title")]
    admin.chrome.switch_to.default_content()
    titles.append(admin.chrome.execute_script("return document.title"))
    assert "owned" not in titles
    admin.enter_page()
    admin.click("Hide values")
    assert POISON not in admin.text()


def test_a_link_to_the_run_leaves_the_frame(admin: Browser) -> None:
    admin.open()
    admin.enter_page()
    admin.click("orders_broken")
    admin.see(".verdict a").click()
    admin.chrome.switch_to.default_content()
    admin.until("location.pathname.startsWith('/dags/orders_broken/runs/')")


def test_nothing_found_is_said(admin: Browser) -> None:
    admin.open(f"{FRAME}?q=nothing-of-this-name")
    admin.enter_page()
    assert "No sync has “nothing-of-this-name” in its name." in admin.see(".empty").text


def test_a_viewer_is_offered_nothing_to_change(deployment: Deployment) -> None:
    with opened(deployment, "viewer") as viewer:
        viewer.open()
        viewer.enter_page()
        assert "Connection refused" not in viewer.text()
        viewer.click("orders")
        assert "Runs" in viewer.text()
        assert not viewer.chrome.find_elements(By.CSS_SELECTOR, "nav.actions *")


def test_who_is_not_signed_in_is_told_so(deployment: Deployment) -> None:
    with opened(deployment, "viewer") as nobody:
        nobody.chrome.delete_all_cookies()
        nobody.open("/etl_sync/")
        assert "Sign in to Airflow" in nobody.text() and "orders" not in nobody.text()
