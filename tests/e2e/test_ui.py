"""The Prefect UI in a real browser: start an iteration from its form, and see it finish.

With ``RECAP_SCREENSHOTS=<directory>`` the pages are also saved as pictures.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.display,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="needs chromium and chromedriver (Debian: chromium chromium-driver)",
    ),
    # Selenium's connection to the browser is closed with the browser.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

type Api = Callable[..., Any]

BROWSER_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)


@pytest.fixture(scope="module")
def ui(home: Path, recap_environment: dict[str, str]) -> Generator[str]:
    """Address of ``recap up`` with the plumbing project; Ctrl-C ends it."""
    log = home.parent / "up.json"
    command = [sys.executable, "-m", "deployments.cli.main", "up", "--preset", "plumbing"]
    with log.open("w") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [*command, "--port", "0", "--no-cameras", "--json"],
            stdout=output,
            env=recap_environment,
            start_new_session=True,
        )
    try:
        while not log.read_text().endswith("\n"):
            assert process.poll() is None, "recap up ended before it served"
            time.sleep(0.2)
        yield json.loads(log.read_text())["url"]
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


@pytest.fixture(scope="module")
def api(ui: str) -> Api:
    """Prefect's own API, to know when a run has ended."""

    def call(path: str, body: dict | None = None) -> Any:  # noqa: ANN401 - JSON
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{ui}/api{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310
            return json.load(response)

    return call


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Any]:
    """Headless Chromium."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in (*BROWSER_OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def _wait_for[T](find: Callable[[], T | None], seconds: float) -> T:
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.5)
    return found


def _text(browser: Any) -> str:  # noqa: ANN401 - selenium's driver
    return browser.find_element("tag name", "body").text


def _picture(browser: Any, name: str) -> None:  # noqa: ANN401 - selenium's driver
    directory = os.environ.get("RECAP_SCREENSHOTS")
    if directory:
        time.sleep(3)  # animations
        browser.save_screenshot(str(Path(directory) / f"{name}.png"))


def _field(browser: Any, title: str) -> Any:  # noqa: ANN401 - selenium's driver and element
    """The input below a title of a form."""
    inputs = "*[self::input or self::textarea]"
    label = f"//*[starts-with(normalize-space(text()), '{title}')]"
    return browser.find_element("xpath", f"{label}/ancestor::*[.//{inputs}][1]//{inputs}")


def _fill(field: Any, text: str) -> None:  # noqa: ANN401 - selenium's element
    field.send_keys("\ue009", "a")  # Control-A
    field.send_keys("\ue000", text)  # Control is released


def _follow(browser: Any, part: str) -> None:  # noqa: ANN401 - selenium's driver
    """Open the first link whose address holds ``part``."""
    links = _wait_for(lambda: browser.find_elements("css selector", f"a[href*='{part}']"), 60)
    browser.get(links[0].get_attribute("href"))


def test_an_iteration_started_from_its_form_completes(ui: str, api: Api, browser: Any) -> None:  # noqa: ANN401
    """A bad value is refused in words; a good one leads to the run, the time line, the report."""

    def deployment() -> str | None:
        found = api("/deployments/filter", {})
        ids = [d["id"] for d in found if d["entrypoint"].endswith("recap_iteration")]
        return ids[0] if ids else None

    browser.get(f"{ui}/deployments/deployment/{_wait_for(deployment, 60)}/run")

    def submit() -> Any:  # noqa: ANN401 - selenium's element
        buttons = browser.find_elements("tag name", "button")
        return next((b for b in buttons if b.text.strip() == "Submit"), None)

    def press() -> None:
        button = _wait_for(submit, 60)
        browser.execute_script("arguments[0].click()", button)  # a message may lie over it

    _wait_for(submit, 60)
    _picture(browser, "ui-form")
    _fill(_field(browser, "Share of positive frames"), "1.5")
    press()
    _wait_for(lambda: "1.5 is greater than the maximum of 1" in _text(browser) or None, 10)
    _fill(_field(browser, "Share of positive frames"), "0.5")

    def submitted() -> bool:
        button = submit()  # deaf while the last answer is on its way; gone once a run is made
        if button is not None:
            browser.execute_script("arguments[0].click()", button)
            time.sleep(3)
        return any(run["deployment_id"] for run in api("/flow_runs/filter", {}))

    _wait_for(lambda: submitted() or None, 60)

    def ended() -> dict | None:
        runs = [r for r in api("/flow_runs/filter", {}) if r["deployment_id"]]
        final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
        return runs[0] if runs and runs[0]["state_type"] in final else None

    run = _wait_for(ended, 600)
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    assert run["parameters"]["labels"] == {"positive_share": 0.5}

    browser.get(f"{ui}/runs/flow-run/{run['id']}")
    _wait_for(lambda: "Completed" in _text(browser) or None, 60)
    _picture(browser, "ui-run")
    tasks = [t["name"] for t in api("/task_runs/filter", {})]
    for stage in ("collect", "convert", "merge", "train-value", "label", "relabel", "evaluate"):
        assert f"{stage}-round-1" in " ".join(tasks)

    browser.get(f"{ui}/artifacts/key/iteration-plumbing-sim-aloha")
    _wait_for(lambda: "Round 1" in _text(browser) or None, 60)
    _picture(browser, "ui-timeline")

    _follow(browser, "/artifacts/artifact/")
    _follow(browser, "/reports/")
    _wait_for(lambda: "Round 1" in _text(browser) or None, 60)
    assert re.search("The new policy is in use|The old policy stays in use", _text(browser))
    _picture(browser, "ui-report")
