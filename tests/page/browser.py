"""Chromium without a screen, driven by ChromeDriver, both from the system's packages."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.page.deployment import Deployment

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # there is no network: whoever needs it is seen
    "--window-size=1400,900",
    "--force-device-scale-factor=1",
)
PATIENCE_SECONDS = 90
INSIDE = "iframe[title='ETL Sync']"


def find_browser() -> tuple[str, str] | None:
    """Chromium and its driver; None where one of them is missing."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@dataclass(frozen=True, slots=True)
class Browser:
    """A person at a screen, signed in to Airflow."""

    chrome: Chrome
    address: str

    def open(self, path: str = "/plugin/etl-sync") -> None:
        """Go to an address of Airflow."""
        self.chrome.switch_to.default_content()
        self.chrome.get(self.address + path)

    def enter_page(self) -> None:
        """Look into the frame that shows the page, once the whole of it is there and styled."""
        self.chrome.switch_to.default_content()
        self.chrome.switch_to.frame(self.see(INSIDE))
        self.see("main h1")
        self.until("document.readyState === 'complete'")  # a heading is shown before what is below it has come

    def see(self, selector: str) -> WebElement:
        """What is on the screen, waited for."""
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support import expected_conditions
        from selenium.webdriver.support.wait import WebDriverWait

        found = expected_conditions.visibility_of_element_located((By.CSS_SELECTOR, selector))
        return WebDriverWait(self.chrome, PATIENCE_SECONDS).until(found)

    def press(self, text: str) -> WebElement:
        """Press the only link or button of this text, once it is on the screen."""
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support import expected_conditions
        from selenium.webdriver.support.wait import WebDriverWait

        named = (By.XPATH, f"//*[self::a or self::button][normalize-space()='{text}']")
        WebDriverWait(self.chrome, PATIENCE_SECONDS).until(expected_conditions.visibility_of_element_located(named))
        (found,) = self.chrome.find_elements(*named)
        found.click()
        return found

    def click(self, text: str) -> None:
        """Press the link or button of this text, and wait until its page has gone and the next is whole."""
        from selenium.webdriver.support import expected_conditions
        from selenium.webdriver.support.wait import WebDriverWait

        found = self.press(text)
        WebDriverWait(self.chrome, PATIENCE_SECONDS).until(expected_conditions.staleness_of(found))
        self.until("document.readyState === 'complete'")

    def until(self, script: str) -> None:
        """Wait until a script's value is true."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.chrome, PATIENCE_SECONDS).until(lambda chrome: chrome.execute_script(f"return {script}"))

    def choose_theme(self, theme: str) -> None:
        """As Airflow's own menu does, before it is loaded."""
        self.chrome.execute_script("window.localStorage.setItem('theme', arguments[0])", theme)

    def text(self) -> str:
        """What can be read in the frame or page that is looked at."""
        return self.see("body").text

    def complaints(self) -> list[str]:
        """What the browser has complained of since it was last asked, but for what Airflow's own frame earns."""
        entries = self.chrome.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if "allow-same-origin" not in entry["message"]]


@contextmanager
def opened(deployment: Deployment, user: str) -> Iterator[Browser]:
    """A browser with the session of a user."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    found, address = find_browser(), deployment.airflow.address
    assert found is not None
    options = ChromeOptions()
    options.binary_location = found[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory() as profile:
        for option in (*OPTIONS, f"--user-data-dir={profile}"):
            options.add_argument(option)
        chrome = Chrome(options=options, service=ChromeService(found[1]))
        try:
            chrome.set_page_load_timeout(PATIENCE_SECONDS)
            browser = Browser(chrome, address)
            browser.open("/static/pin_32.png")  # a cookie is set on a page of its host
            chrome.add_cookie({"name": "_token", "value": deployment.token(user), "path": "/"})
            browser.complaints()
            yield browser
        finally:
            chrome.quit()
