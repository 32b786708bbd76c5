"""The report in a real browser: its tables sort, nothing is fetched, nothing is wider than a phone."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium")
TABLE = """<table class="sortable"><thead><tr><th>Who</th><th class="n">Value</th></tr></thead><tbody>
<tr><th>b</th><td class="n">1,200</td></tr><tr><th>a</th><td class="n">undefined<small>for 3 patients</small></td></tr>
<tr><th>d</th><td class="n">−0.5 (−1 to 0)</td></tr><tr><th>c</th><td class="n">&lt; 0.001<small>9</small></td></tr>
</tbody></table>"""
ASKED = """
var loaded = performance.getEntriesByType("resource").length;
var found = {orders: [], wide: document.documentElement.scrollWidth, loaded: loaded};
var table = document.querySelector("#own table"), heads = table.querySelectorAll("th button");
[0, 1, 1].forEach(function (at) {
  heads[at].click();
  var rows = Array.from(table.tBodies[0].rows);
  found.orders.push(rows.map(function (row) { return row.cells[0].textContent; }).join(""));
});
found.buttons = Array.from(document.querySelectorAll("main table.sortable")).map(function (one) {
  one.querySelectorAll("thead button").forEach(function (button) { button.click(); });
  return one.querySelectorAll("[aria-sort]").length;
});
var said = document.createElement("p"); said.id = "found"; said.textContent = JSON.stringify(found);
document.body.appendChild(said);
"""


@pytest.mark.slow
def test_tables_sort_nothing_is_fetched_and_a_phone_is_wide_enough(bundled, tmp_path):
    page = (bundled / "artifacts/evaluation/report.html").read_text()
    at = page.rindex("<script>")
    asked = f'<div id="own">{TABLE}</div>{page[at:]}<script>{ASKED}</script>'
    (tmp_path / "report.html").write_text(page[:at] + asked)
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,900", "--virtual-time-budget=2000",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", (tmp_path / "report.html").as_uri()],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = json.loads(html.unescape(re.search(r'<p id="found">(.*?)</p>', done.stdout, re.DOTALL)[1]))
    assert found["orders"] == ["abcd", "dcba", "bcda"]
    assert len(found["buttons"]) >= 4 and set(found["buttons"]) == {1}
    assert found["loaded"] == 0
    assert found["wide"] <= 500
