"""``index.html`` in a real browser: sorted by click, filtered, and nothing on the console."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

from metabench.reports.leaderboard import write_reports
from metabench.reports.page import write_page
from tests.reports.synthetic import BOARD, META, made_up, summary_of

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")

LISTEN = """<script>
window.problems = [];
window.onerror = (message) => { problems.push(String(message)); };
console.error = console.warn = (...words) => { problems.push(words.join(" ")); };
</script>"""

USE = """<script>
const lines = () => [...document.querySelectorAll("#board tbody tr")];
const cells = (i) => lines().map(r => r.cells[i].textContent);
const heads = [...document.querySelectorAll("#board th")];
const at = (label) => heads.findIndex(h => h.textContent === label);
const click = (label) => heads[at(label)].querySelector("button").click();
const pick = (id, value) => {
  const element = document.getElementById(id);
  element.value = value;
  element.dispatchEvent(new Event(element.tagName === "SELECT" ? "change" : "input"));
};
const seen = { all: cells(0).length };
click("score"); seen.up = cells(at("score")).map(Number);
click("score"); seen.down = cells(at("score")).map(Number);
seen.arrow = heads[at("score")].getAttribute("aria-sort");
click("method"); seen.names = cells(at("method"));
pick("target", "digits"); seen.targets = [...new Set(cells(at("target")))];
pick("setting", "5-way 1-shot"); seen.one = cells(0).length;
pick("search", "MAML"); seen.found = cells(at("method"));
seen.count = document.getElementById("count").textContent;
pick("search", "");
pick("verdict", "best"); seen.best = lines().map(line => line.className);
seen.champions = [...document.querySelectorAll("#champions tbody tr")].length;
seen.figures = document.querySelectorAll("figure svg").length;
seen.problems = problems;
const result = document.createElement("pre");
result.id = "seen";
result.textContent = JSON.stringify(seen);
document.body.append(result);
</script>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    write_reports(*made_up(), folder, META)
    return folder


def test_the_page_loads_nothing_from_elsewhere(folder) -> None:
    page = (folder / "index.html").read_text()
    # an SVG names its vocabularies by addresses that nothing fetches
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', re.sub(r'xmlns[^"]*"[^"]*"', "", page))
    assert "@import" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)


def test_a_name_cannot_end_the_script(tmp_path) -> None:
    summary = summary_of(*made_up({"</script><b>": ("metric", 0.5), "b": ("model", 0.6)}))
    write_page(summary, [], [], tmp_path, META)
    assert "</script><b>" not in (tmp_path / "index.html").read_text()


@pytest.mark.skipif(BROWSER is None, reason="no chromium: the page is not tested in a browser")
def test_a_click_sorts_a_choice_filters_and_the_console_stays_empty(folder, tmp_path) -> None:
    page = (folder / "index.html").read_text()
    page = page.replace("<head>", "<head>" + LISTEN).replace("</body>", USE + "</body>")
    (tmp_path / "used.html").write_text(page)
    call = [
        str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'browser'}", "--virtual-time-budget=3000", "--dump-dom",
        (tmp_path / "used.html").as_uri(),
    ]  # fmt: skip
    shown = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r'<pre id="seen">(.*?)</pre>', shown, re.DOTALL)
    assert found, shown[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert seen["problems"] == []
    assert seen["all"] == 4 * len(BOARD)
    assert seen["up"] == sorted(seen["up"]) and len(set(seen["up"])) > 3
    assert seen["down"] == seen["up"][::-1] and seen["arrow"] == "descending"
    assert seen["names"] == sorted(seen["names"])
    assert seen["targets"] == ["digits"] and seen["one"] == len(BOARD)
    assert seen["found"] == ["maml"] and seen["count"] == "1"
    assert seen["best"] == ["best", "best"]  # one of them transductive, among its own
    assert seen["champions"] == 4
    assert seen["figures"] == len(list((folder / "figures").glob("*.svg")))
