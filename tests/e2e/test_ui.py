"""The Prefect UI in a real browser: start a round from its form, approve its policy, see it finish.

With ``RECAP_SCREENSHOTS=<directory>`` the pages are also saved as pictures.
"""

import json
import os
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

from recap_core.lineage.store import Store

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.display,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="needs chromium and chromedriver (Debian: chromium chromium-driver)",
    ),
    # Selenium's connection to the browser is closed with the browser.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

type Api = Callable[..., Any]

# No new policy is in use before a person has said so.
ASKED = ("-s", "iteration.gate.rule=never", "-s", "iteration.wait_for_approval=true")
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
            [*command, "--port", "0", "--no-cameras", "--json", *ASKED],
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
        process.wait(240)


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


def _wait_for[T](find: Callable[[], T | None], seconds: float = 240) -> T:
    deadline = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.5)
    return found


def _text(browser: Any) -> str:  # noqa: ANN401 - selenium's driver
    return browser.find_element("tag name", "body").text


def _picture(browser: Any, name: str, part: str | None = None) -> None:  # noqa: ANN401 - selenium's driver
    """Save the page as it is seen, or the whole of a part that may be higher than the window."""
    directory = os.environ.get("RECAP_SCREENSHOTS")
    if not directory:
        return
    time.sleep(3)  # animations
    path = str(Path(directory) / f"{name}.png")
    if part is None:
        browser.save_screenshot(path)
        return
    browser.set_window_size(1400, 3000)
    browser.find_element("css selector", part).screenshot(path)
    browser.set_window_size(1400, 1000)


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
    links = _wait_for(lambda: browser.find_elements("css selector", f"a[href*='{part}']"))
    browser.get(links[0].get_attribute("href"))


def _press(browser: Any, text: str) -> bool:  # noqa: ANN401 - selenium's driver
    """Press the last button with a text, on top of all others; whether there is one."""
    found = [b for b in browser.find_elements("tag name", "button") if b.text.strip() == text]
    if found:
        browser.execute_script("arguments[0].click()", found[-1])  # a message may lie over it
    return bool(found)


def _state_of(run: str, api: Api, names: set[str], seconds: float) -> dict:
    """A run, once its state has one of these names."""

    def found() -> dict | None:
        one = api(f"/flow_runs/{run}")
        return one if one["state_name"] in names else None

    return _wait_for(found, seconds)


def _start_from_form(ui: str, api: Api, browser: Any) -> str:  # noqa: ANN401 - selenium's driver
    """Fill the form of a round in, first with a value that is refused; the new run's id."""

    def deployment() -> str | None:
        found = api("/deployments/filter", {})
        ids = [d["id"] for d in found if d["entrypoint"].endswith("recap_iteration")]
        return ids[0] if ids else None

    browser.get(f"{ui}/deployments/deployment/{_wait_for(deployment)}/run")
    _wait_for(lambda: "Share of positive frames" in _text(browser) or None)
    _picture(browser, "ui-form")
    _picture(browser, "form-recap-iteration", "form")
    _fill(_field(browser, "Share of positive frames"), "1.5")
    _wait_for(lambda: _press(browser, "Submit") or None)
    _wait_for(lambda: "1.5 is greater than the maximum of 1" in _text(browser) or None)
    _fill(_field(browser, "Share of positive frames"), "0.5")

    def submitted() -> str | None:
        if _press(browser, "Submit"):  # deaf while the last answer is on its way; else it is gone
            for _ in range(30):
                time.sleep(0.5)
                if runs := [r["id"] for r in api("/flow_runs/filter", {}) if r["deployment_id"]]:
                    return runs[0]
        return None

    return _wait_for(submitted)


def _approve(ui: str, run: str, browser: Any) -> None:  # noqa: ANN401 - selenium's driver
    """Resume a suspended run with the form that asks for a decision."""
    from selenium.webdriver.support.ui import Select

    browser.get(f"{ui}/runs/flow-run/{run}")
    _wait_for(lambda: _press(browser, "Resume") or None)
    _wait_for(lambda: "become plumbing/sim-aloha/current?" in _text(browser) or None)
    _picture(browser, "ui-resume")
    choice = "//*[normalize-space(text())='Decision']/ancestor::*[.//select][1]//select"
    Select(browser.find_element("xpath", choice)).select_by_visible_text("approve")
    _fill(_field(browser, "Note"), "tried it on the left arm")
    _fill(_field(browser, "Your name"), "Ada")
    assert _press(browser, "Submit")


def test_a_round_is_started_approved_and_shown(
    ui: str,
    home: Path,
    api: Api,
    browser: Any,  # noqa: ANN401 - selenium's driver
) -> None:
    """A bad value is refused in words; a good one leads to a run, a question, a policy in use.

    Then come the time line and the report.
    """
    run = _start_from_form(ui, api, browser)
    ends = {"Completed", "Failed", "Crashed", "Cancelled"}
    state = _state_of(run, api, {"Suspended", *ends}, 600)
    assert state["state_name"] == "Suspended", state["state"]["message"]
    assert state["parameters"]["labels"] == {"positive_share": 0.5}
    _approve(ui, run, browser)
    state = _state_of(run, api, ends, 600)
    assert state["state_name"] == "Completed", state["state"]["message"]
    store = Store(home)
    change = store.ref_history("plumbing/sim-aloha/current")[-1]
    assert (change.note, change.by) == ("tried it on the left arm", "Ada")
    assert store.get_ref("plumbing/sim-aloha/current") == store.get_ref(
        "plumbing/sim-aloha/round-1-policy"
    )

    browser.get(f"{ui}/runs/flow-run/{run}")
    _wait_for(lambda: "Completed" in _text(browser) or None)
    _picture(browser, "ui-run")
    tasks = [t["name"] for t in api("/task_runs/filter", {})]
    for stage in ("collect", "convert", "merge", "train-value", "label", "relabel", "evaluate"):
        assert f"{stage}-round-1" in " ".join(tasks)

    browser.get(f"{ui}/artifacts/key/iteration-plumbing-sim-aloha")
    _wait_for(lambda: "Round 1" in _text(browser) or None)
    _picture(browser, "ui-timeline")

    _follow(browser, "/artifacts/artifact/")
    _follow(browser, "/reports/")
    _wait_for(lambda: "Round 1" in _text(browser) or None)
    assert "The new policy is in use" in _text(browser)
    assert "tried it on the left arm" in _text(browser)
    _picture(browser, "ui-report")
