"""Chromium without a window, for tests of pages; each test that needs it skips with a reason where it is not there."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass
class Seen:
    """What a page did while it was open."""

    page: Any
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


@contextmanager
def opened(file: Path, profile: Path) -> Generator[Seen]:
    """The page from file://, with every request but its own, console error and dialog noted."""
    program = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no chromium: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    with api.sync_playwright() as play:
        browser = play.chromium.launch_persistent_context(
            str(profile), executable_path=program, headless=True, args=list(FLAGS)
        )
        try:
            page = browser.new_page()
            seen, address = Seen(page), file.absolute().as_uri()
            page.on("request", lambda request: None if request.url == address else seen.requests.append(request.url))
            page.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: seen.errors.append(str(error)))
            page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
            page.goto(address, wait_until="load")
            yield seen
        finally:
            browser.close()
