"""A real browser: Debian's chromium, driven by playwright. Pages may talk to loopback only, and must not complain."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.registry_docker import require_program


@contextmanager
def browser_page(width: int = 1200, height: int = 900, dark: bool = False) -> Iterator["Page"]:
    """A page; at the end it must have asked nobody but loopback, and said nothing in its console."""
    program = require_program("chromium", "chromium", "ACCEL_REQUIRE_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        if os.environ.get("ACCEL_REQUIRE_CHROMIUM") == "1":
            pytest.fail("playwright is not installed, but ACCEL_REQUIRE_CHROMIUM=1")
        pytest.skip("playwright is not installed")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page = Page(context.new_page())
        yield page
        browser.close()
    assert [url for url in page.asked if not url.startswith(("http://127.0.0.1:", "data:"))] == []
    assert page.complaints == []


class Page:
    """A page of playwright with what it asked for, and what its console said that no answer explains."""

    def __init__(self, page: "object") -> None:
        self.page: object = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))  # type: ignore[attr-defined]
        page.on("pageerror", lambda error: self.complaints.append(str(error)))  # type: ignore[attr-defined]
        page.on("console", self._console)  # type: ignore[attr-defined]

    def _console(self, message: "object") -> None:
        text = str(message.text)  # type: ignore[attr-defined]
        # A wrong token, or none, is answered by 401, which the browser reports too.
        if message.type in ("error", "warning") and "status of 401" not in text:  # type: ignore[attr-defined]
            self.complaints.append(text)
