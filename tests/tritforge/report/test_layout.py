"""Pages in a browser, at the widths of a desktop and a phone: nothing overlaps, nothing is clipped.

The pages stand in frames of another page, whose script measures them (``layout.html``).
"""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from tests.tritforge.report.pages import CASES, made

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "chrome-headless-shell")
WIDTHS = (1280, 390)
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")


def browse(folder, page, *flags):
    """What the browser prints; it fetches nothing and leaves nothing behind but in ``folder``."""
    return subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={folder / 'profile'}",
            *flags,
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    ).stdout


def measured(folder, pages):
    """Sentences on what is wrong, by page and width."""
    text = json.dumps(pages).replace("<", "\\u003c")
    source = (Path(__file__).parent / "layout.html").read_text(encoding="utf-8")
    page = folder / "layout.html"
    page.write_text(
        source.replace("PAGES", text).replace("WIDTHS", str(list(WIDTHS))), encoding="utf-8"
    )
    out = browse(
        folder, page, "--window-size=1400,1000", "--virtual-time-budget=60000", "--dump-dom"
    )
    found = json.loads(unescape(re.search(r'<pre id="found">(.*?)</pre>', out, re.DOTALL)[1]))
    assert len(found) == len(pages) * len(WIDTHS)
    return found


@needs_browser
def test_layout(tmp_path):
    found = measured(tmp_path, {name: made(name)[1].source for name in CASES})
    assert {name: sentences for name, sentences in found.items() if sentences} == {}


@needs_browser
def test_what_is_wrong_is_found(tmp_path):
    """The measuring script sees what it is there for."""
    good = made("digits")[1].source
    bad = good.replace(
        "</main>",
        """
        <p style="width: 2000px">wide</p>
        <p style="width: 20px; overflow: hidden; white-space: nowrap">clipped</p>
        <svg class="plot" viewBox="0 0 700 20" aria-label="bad"><text x="5" y="10">one</text>
        <text x="8" y="10">two</text><text x="690" y="10">outside</text>
        <g class="matplotlib-axis"><text x="200" y="10">10</text></g></svg></main>""",
    )
    found = measured(tmp_path, {"bad": bad})["bad at 390"]
    for sentence in (
        "the page is",
        "leaves the page",
        "is clipped",
        "overlaps",
        "leaves the plot",
        "an axis has no label",
    ):
        assert any(sentence in one for one in found), (sentence, found)
