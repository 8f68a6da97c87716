"""The report in a real browser: it sorts, fits a phone, and loads nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

import raytune_edge as rte

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER),
    reason="needs Chromium and its driver: apt-get install chromium chromium-driver",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    profile = tmp_path_factory.mktemp("profile")
    for switch in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", f"--user-data-dir={profile}",
    ):  # fmt: skip
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=CHROMEDRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(results: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = rte.report(results, tmp_path_factory.mktemp("report") / "r.html", budget_ms=0.8)
    browser.get(path.as_uri())
    return browser


def column(page: Any, name: str) -> list[str]:
    heads = page.find_elements(By.CSS_SELECTOR, "#trials th")
    at = [head.text.split(" ")[0] for head in heads].index(name) + 1
    cells = page.find_elements(By.CSS_SELECTOR, f"#trials tbody td:nth-child({at})")
    return [cell.get_attribute("textContent") for cell in cells]


def click(page: Any, name: str) -> Any:
    heads = page.find_elements(By.CSS_SELECTOR, "#trials th button")
    (head,) = [head for head in heads if head.get_attribute("textContent") == name]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", head)
    head.click()
    return head.find_element(By.XPATH, "..")


def test_a_click_sorts_by_number_and_another_turns_it_round(page: Any) -> None:
    head = click(page, "latency_p50_ms")
    known = [float(text) for text in column(page, "latency_p50_ms") if text != "–"]
    assert known == sorted(known)
    assert len(set(known)) > 3
    assert column(page, "latency_p50_ms")[len(known) :] == ["–"] * (8 - len(known))
    assert head.get_attribute("aria-sort") == "ascending"
    click(page, "latency_p50_ms")
    assert column(page, "latency_p50_ms")[: len(known)] == [f"{ms:.3f}" for ms in known[::-1]]
    assert head.get_attribute("aria-sort") == "descending"


def test_a_click_sorts_texts_and_keeps_rows_whole(page: Any, results: Any) -> None:
    click(page, "trial")
    rows = dict(zip(column(page, "trial"), column(page, "status"), strict=True))
    click(page, "status")
    assert column(page, "status") == sorted(rows.values())
    assert dict(zip(column(page, "trial"), column(page, "status"), strict=True)) == rows


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_its_window_and_all_pictures_are_shown(page: Any, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    assert page.execute_script("return window.innerWidth") == width
    needed, there = page.execute_script(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth]"
    )
    assert needed <= there
    page.execute_script("for (const image of document.images) image.loading = 'eager'")
    shown = page.execute_async_script(
        "const done = arguments[0];"
        "Promise.all([...document.images].map(image => image.decode()))"
        ".then(() => done([...document.images].every(image => image.clientWidth > 200)))"
        ".catch(() => done(false));"
    )
    assert shown is True
    assert len(page.find_elements(By.TAG_NAME, "img")) >= 10


def test_nothing_went_wrong_in_the_browser_and_no_tag_of_a_user_got_in(page: Any) -> None:
    assert page.get_log("browser") == []
    wrong = page.find_element(By.ID, "wrong")
    assert "the device died <b>for good</b>" in wrong.text
    assert wrong.find_elements(By.TAG_NAME, "b") == []
