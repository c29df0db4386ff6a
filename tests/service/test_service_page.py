"""The web page in a real Chromium."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from support.chromium import browser_page
from support.running_service import TOKEN
from support.service_state import FilledService


@pytest.fixture
def service(tmp_path: Path) -> Iterator[FilledService]:
    with FilledService(tmp_path) as running:
        yield running


@pytest.fixture
def page(service: FilledService) -> Iterator[Any]:
    with browser_page() as opened:
        yield opened.page


def log_in(page: Any, service: FilledService, where: str = "") -> None:
    page.goto(f"{service.url}/{where}")
    page.get_by_label("A token").fill(TOKEN)
    page.get_by_role("button", name="Go on").click()


def test_who_has_no_token_sees_nothing_and_a_wrong_one_is_refused(page: Any, service: FilledService) -> None:
    service.job()
    page.goto(service.url)
    page.get_by_label("A token").fill("some other token")
    page.get_by_role("button", name="Go on").click()
    page.get_by_text("This token is not valid.").wait_for()
    assert page.get_by_text("team/app").count() == 0


def test_the_dashboard_shows_jobs_and_follows_their_changes(page: Any, service: FilledService) -> None:
    job = service.job(state="running")
    log_in(page, service)
    row = page.locator(f"[data-job='{job}']")
    row.wait_for()
    assert "running" in row.inner_text() and "v1_accelerated" in row.inner_text()
    assert row.locator("progress").get_attribute("value") == "400"
    service.change(job, state="done")
    row.get_by_text("done").wait_for()
    new = service.job("team/other", seed=2)
    page.locator(f"[data-job='{new}']").wait_for()


def test_a_job_has_a_page_with_its_layers_and_log_and_can_be_cancelled(page: Any, service: FilledService) -> None:
    job = service.job(state="running")
    log_in(page, service, f"#/jobs/{job}")
    page.get_by_text("making soci of a layer").wait_for()
    assert page.get_by_text("v1_accelerated").count() == 1
    page.get_by_role("button", name="cancel").click()
    page.get_by_role("button", name="retry").wait_for()
    assert service.cancelled == [f"{job}#1"]
    row = service.store.get(job)
    assert row is not None and row["state"] == "cancelled"


def test_names_are_text_whatever_they_hold(page: Any, service: FilledService) -> None:
    evil = "<img src=x onerror=document.title='bad'>"
    job = service.job(state="failed", reason=evil)
    service.change(job, repository=evil)
    log_in(page, service)
    page.locator(f"[data-job='{job}']").wait_for()
    assert page.get_by_text(evil).count() == 2
    assert (page.locator("main img").count(), page.title()) == (0, "accel")


def test_rules_are_switched_and_explained(page: Any, service: FilledService) -> None:
    log_in(page, service, "#/rules")
    page.get_by_role("button", name="Disable").click()
    page.get_by_role("button", name="Disable").wait_for(state="detached")
    assert [stored.rule.enabled for stored in service.rulebook.rules()] == [False, False]
    page.get_by_label("What would happen to").fill("r.example/team/app:v1")
    page.get_by_role("button", name="Explain").click()
    page.get_by_text("no rule covers it").wait_for()


def test_all_jobs_can_be_held_back(page: Any, service: FilledService) -> None:
    log_in(page, service)
    page.get_by_role("button", name="Begin no more jobs").click()
    page.get_by_role("button", name="Begin jobs again").wait_for()
    assert service.store.is_paused


@pytest.mark.parametrize("where", ["", "#/rules", "#/deliveries", "#/protection", "#/jobs/JOB"])
@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_a_telephone(service: FilledService, where: str, dark: bool) -> None:
    job = service.job("team/" + "a-long-name-of-a-repository/" * 4 + "app", state="running")
    service.change(job, reason="a reason " * 20)
    with browser_page(width=360, height=740, dark=dark) as opened:
        page: Any = opened.page
        log_in(page, service, where.replace("JOB", job))
        page.locator("main h1").filter(has_text=re.compile(".")).wait_for()
        page.locator("main .table, main p").first.wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_description_of_the_api_is_shown_whole(page: Any, service: FilledService) -> None:
    page.goto(f"{service.url}/docs")
    page.locator("details").first.wait_for()
    api = json.loads(urllib3.request("GET", f"{service.url}/openapi.json").data)
    wanted = {f"{method} {path}" for path, methods in api["paths"].items() for method in methods}
    shown = page.locator("[data-operation]").evaluate_all("all => all.map(one => one.dataset.operation)")
    assert set(shown) == wanted
