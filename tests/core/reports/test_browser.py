"""The page in a real browser."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recap_core.reports.content import IterationReport
from recap_core.reports.iteration import write_html

_QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
]


@pytest.fixture(scope="module")
def browser() -> str:
    """Path of a headless Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on this machine; 'apt-get install chromium' brings it")
    return path


@pytest.mark.display
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (480, "dark")])
def test_a_browser_draws_the_page(
    report: IterationReport, browser: str, tmp_path: Path, *, width: int, scheme: str
) -> None:
    """Opened from the disk, the page shows its headline, in the reader's light and width."""
    page, picture = tmp_path / "index.html", tmp_path / "page.png"
    write_html(report, page)
    height = 900

    subprocess.run(  # noqa: S603 - the browser that was found, on our own file
        [
            browser,
            *_QUIET,
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}",
            f"--window-size={width},{height}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
    )

    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert pixels.shape == (height, width, 3)
    assert (pixels[2, 2].sum() > 3 * 128) == (scheme == "light")
    accent = (11, 98, 164) if scheme == "light" else (98, 176, 234)
    rows, columns = np.nonzero((np.abs(pixels - accent) < 6).all(axis=-1))
    # The rule above the verdict, the figure and the candidate's bar: inside the page, on screen.
    assert rows.size > 2000
    assert columns.min() >= 10
    assert columns.max() <= width - 10
