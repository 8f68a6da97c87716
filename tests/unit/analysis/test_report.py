"""The HTML report as text; `tests/integration/analysis/test_report.py` opens it in a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from raytune_edge.analysis import pareto_front, report, to_frame
from raytune_edge.errors import OutputError


class Page(HTMLParser):
    """Headings, rows by table, and every address that the page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.addresses: list[str] = []
        self._tag = self._table = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "table":
            self._table = told.get("id") or ""
            self.rows.setdefault(self._table, [])
        if tag == "tr":
            self.rows[self._table].append([])
        if tag in ("td", "th"):
            self.rows[self._table][-1].append("")
        if tag in ("h1", "h2"):
            self.headings.append("")
        self._tag = tag

    def handle_endtag(self, tag: str) -> None:
        self._tag = "td" if tag == "span" and self._tag == "span" else ""

    def handle_data(self, data: str) -> None:
        if self._tag in ("h1", "h2"):
            self.headings[-1] += data
        if self._tag in ("td", "th", "span", "button") and self.rows.get(self._table):
            self.rows[self._table][-1][-1] += data


quick = pytest.mark.usefixtures("quick_pictures")


def page(results: Any, folder: Path, **settings: Any) -> Page:
    return Page(report(results, folder / "report.html", **settings).read_text())


@quick
def test_every_trial_has_its_row_with_its_figures(any_grid: Any, tmp_path: Path) -> None:
    head, *rows = page(any_grid, tmp_path).rows["trials"]
    frame = to_frame(any_grid)
    assert [int(row[head.index("trial")]) for row in rows] == frame["trial"].tolist()
    assert [row[head.index("status")] for row in rows] == frame["status"].tolist()
    for row, latency in zip(rows, frame["latency_p50_ms"], strict=True):
        told = row[head.index("latency_p50_ms")]
        assert told == ("–" if latency != latency else f"{latency:.3f}")


@quick
def test_nothing_is_loaded_from_elsewhere(trials: Any, tmp_path: Path) -> None:
    made = page(trials(20), tmp_path)
    assert made.addresses
    assert all(address.startswith("data:image/png;base64,") for address in made.addresses)
    assert not re.search(r"https?://|@import|url\(", (tmp_path / "report.html").read_text())


@quick
def test_what_users_typed_is_escaped(trials: Any, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    grid = trials(10)
    for trial in grid.trials:
        trial.config["note"] = evil
        trial.last_result["reason"] = evil
        trial.last_result["flags"] = f'"{evil}'
    made = page(grid, tmp_path, title=evil)
    text = (tmp_path / "report.html").read_text()
    assert text.count("<script") == 1  # the one that sorts
    assert made.headings[0] == evil
    head, *rows = made.rows["trials"]
    assert rows[0][head.index("note")] == evil


@quick
def test_sections_are_there_when_there_is_something_to_say(trials: Any, tmp_path: Path) -> None:
    whole = page(trials(25), tmp_path).headings[1:]
    assert whole == [
        "What was traded for what", "Which settings matter", "Retraining", "How it went",
        "What was spent", "What went wrong", "All trials",
    ]  # fmt: skip
    failed = page(trials(5, kind="failed"), tmp_path)
    assert "Retraining" in failed.headings
    assert [row[2] for row in failed.rows["wrong"][1:]] == ["failed"] * 5


@quick
def test_the_front_is_told_with_its_ties_by_number(trials: Any, tmp_path: Path) -> None:
    grid = trials(25)
    head, *rows = page(grid, tmp_path).rows["front"]
    front = pareto_front(grid).iloc[::-1]
    number_of = dict(zip(to_frame(grid)["trial_id"], to_frame(grid)["trial"], strict=True))
    for row, (_, told) in zip(rows, front.iterrows(), strict=True):
        assert int(row[head.index("trial")]) == told["trial"]
        ties = {str(number_of[each]) for each in told["tied_with"].split()}
        assert set(filter(None, row[head.index("tied_with")].split(", "))) == ties


@quick
def test_a_page_that_cannot_be_written_is_told(trials: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        report(trials(2), tmp_path / "nowhere" / "report.html")


def test_two_thousand_trials_stay_below_ten_megabytes(trials: Any, tmp_path: Path) -> None:
    made = page(trials(2000), tmp_path)
    assert len(made.rows["trials"]) == 2001
    assert len(made.addresses) == 10
    assert (tmp_path / "report.html").stat().st_size < 10e6
