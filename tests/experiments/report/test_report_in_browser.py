"""The page in a real, headless Chromium: it loads without an error, filters, opens cells."""

import csv
import io
import math
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest

from experiments.report.__main__ import command
from simbyz import records
from simbyz.records.provenance import provenance
from tests.support.made_up_results import DIVERGED, DIVERGES_AT, fill

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1400,1600",
    # Nothing of the browser's own goes to the network.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
    "--metrics-recording-only",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if BROWSER is None or DRIVER is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = fill(tmp_path_factory.mktemp("results"))
    path = folder / "report.html"
    assert command([str(folder)]) == 0
    return path


@pytest.fixture
def page(browser, file):
    browser.get(file.as_uri())
    WebDriverWait(browser, 60).until(lambda page: count(page, "body[data-drawn]"))
    yield browser
    assert browser.get_log("browser") == []


def text(page, selector):
    return page.find_element(By.CSS_SELECTOR, selector).text


def count(page, selector):
    return len(page.find_elements(By.CSS_SELECTOR, selector))


def press(page, name, value):
    page.find_element(By.CSS_SELECTOR, f'[data-filter="{name}"][data-value="{value}"]').click()


def rows(page):
    return page.execute_script(
        "return [...document.querySelectorAll('#table tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )


def drawn(page):
    """Names of the curves, and how many bands and marks are there."""
    return page.execute_script(
        "const all = (kind) => [...document.querySelectorAll(`#plot [data-${kind}]`)];"
        "return [all('curve').map((one) => one.dataset.curve),"
        "  all('band').length, all('mark').length]"
    )


def move_to(page, fraction, rise):
    """The pointer goes to a place in the picture; returns the actions, to go on from there."""
    plot = page.find_element(By.CSS_SELECTOR, "#plot .picture svg")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    left, top = page.execute_script(
        "const box = arguments[0].getBoundingClientRect();"
        "return [box.left + arguments[1] * box.width, box.top + arguments[2] * box.height]",
        plot, fraction, rise,
    )  # fmt: skip
    actions = ActionChains(page, duration=0)
    for offset in (3, 0):  # a second, small move: a pointer that only appears hovers nothing
        actions.w3c_actions.pointer_action.move_to_location(int(left) + offset, int(top))
    return actions


def click_cell(page, dataset, row, column):
    """A real click on a cell of a panel; returns the text that stands there."""
    rows = page.find_elements(By.CSS_SELECTOR, f'[data-dataset="{dataset}"] tbody tr')
    cell = rows[row].find_elements(By.TAG_NAME, "button")[column]
    text = cell.text
    cell.click()
    return text


def test_loads_and_says_what_it_shows(page):
    assert text(page, "h1") == "Momentum at the workers under attack"
    shown = text(page, "#shown")
    assert "72 runs of 36 configurations" in shown
    assert "1 diverged" in shown
    assert "gain" in text(page, "#heatmap-title")
    assert count(page, "#heatmaps .heat") == 2
    assert count(page, "#heatmaps .heat button") == 16
    assert len(rows(page)) == 36
    # The first picture is of the cell that gains most, with the bands of its three curves.
    names, bands, _ = drawn(page)
    assert names == ["unattacked average", "momentum at update", "momentum at worker"]
    assert bands == 3


def test_nothing_is_fetched(page):
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_a_cell_opens_its_curves(page):
    # Rows: krum, median. Columns: little plain, little Nesterov, empire plain, empire Nesterov.
    assert click_cell(page, "fashion_mnist", 0, 3) == "+10.0"
    WebDriverWait(page, 5).until(lambda page: "fashion_mnist" in text(page, "#curves-title"))
    title = text(page, "#curves-title")
    assert "krum against empire, f = 12 of 51" in title
    assert "Nesterov" in title
    assert click_cell(page, "mnist", 0, 2) == "+10.0 ✕"
    WebDriverWait(page, 5).until(lambda page: " mnist" in text(page, "#curves-title"))
    _, _, marks = drawn(page)
    assert marks == 1


def test_filters(page):
    press(page, "dataset", "mnist")
    assert {row[0] for row in rows(page)} == {"mnist"}
    assert count(page, "#heatmaps .panel") == 1
    press(page, "rule", "median")
    press(page, "place", "worker")
    assert [row[:4] for row in rows(page)] == [
        ["mnist", "median", attack, "worker"] for attack in ("little", "little", "empire", "empire")
    ]
    press(page, "nesterov", "true")
    assert len(rows(page)) == 2
    assert "2 configurations, 4 runs" in text(page, "#table-title")
    page.find_element(By.CSS_SELECTOR, "[data-scope=all]").click()
    names, bands, _ = drawn(page)
    assert names == ["little", "empire"]  # in which alone the two curves differ
    assert bands == 0
    press(page, "attack", "none")
    assert rows(page) == []
    assert text(page, "#no-cell")
    page.find_element(By.ID, "clear").click()
    assert len(rows(page)) == 36


def test_a_band_on_hover(page):
    press(page, "dataset", "mnist")
    press(page, "attack", "empire")
    page.find_element(By.CSS_SELECTOR, "[data-scope=all]").click()
    assert drawn(page)[1] == 0
    move_to(page, 0.5, 0.6).perform()
    WebDriverWait(page, 5).until(lambda page: drawn(page)[1] == 1)
    hover = text(page, "#plot .tip")
    assert "± " in hover
    assert "2 of 2 seeds" in hover


def test_a_drag_takes_some_steps_and_a_double_click_all(page):
    ticks = "return [...document.querySelectorAll('#plot svg text')].map((one) => one.textContent)"
    assert "20" in page.execute_script(ticks)
    actions = move_to(page, 0.3, 0.5)
    actions.w3c_actions.pointer_action.pointer_down()
    actions.w3c_actions.pointer_action.move_by(150, 0)
    actions.w3c_actions.pointer_action.pointer_up()
    actions.perform()
    assert "20" not in page.execute_script(ticks)
    move_to(page, 0.5, 0.5).double_click().perform()
    assert "20" in page.execute_script(ticks)


def test_a_click_on_a_name_hides_its_curve(page):
    page.find_element(By.CSS_SELECTOR, "#plot .legend button").click()
    assert drawn(page)[0] == ["momentum at update", "momentum at worker"]


def test_quantities_and_metrics(page):
    page.find_element(By.CSS_SELECTOR, "[data-quantity=update]").click()
    assert count(page, "[data-dataset=mnist] .heat button") == 8
    assert text(page, "[data-dataset=mnist] tbody tr:nth-child(2) button") == "41.5"
    for option in page.find_elements(By.CSS_SELECTOR, "#metric option"):
        option.click()
        assert len(drawn(page)[0]) == 3
        assert "NaN" not in page.execute_script(
            "return document.querySelector('#plot svg').outerHTML"
        )


def saved(page, folder, button, name):
    """What the button saves, as text."""
    where = {"behavior": "allow", "downloadPath": str(folder)}
    page.execute_cdp_cmd("Page.setDownloadBehavior", where)
    page.find_element(By.ID, button).click()
    WebDriverWait(page, 10).until(lambda page: (folder / name).exists())
    return (folder / name).read_text()


def test_the_table_is_saved(page, tmp_path):
    press(page, "dataset", "mnist")
    press(page, "rule", "median")
    press(page, "attack", "little")
    table = list(
        csv.DictReader(io.StringIO(saved(page, tmp_path, "save-csv", "configurations.csv")))
    )
    assert [row["momentum at"] for row in table] == 2 * ["update", "worker"]
    assert [float(row["highest, %"]) for row in table] == 2 * [41.5, 71.5]
    assert float(table[0]["highest, % ±"]) == pytest.approx(1 / math.sqrt(2), abs=1e-5)
    assert {(row["f"], row["n"]) for row in table} == {("12", "51")}
    latex = saved(page, tmp_path, "save-latex", "configurations.tex")
    assert latex.startswith("\\begin{tabular}{llllrrllrrrr}\n  \\toprule\n")
    assert r"highest, \% & final, \%" in latex
    assert latex.count(r"71.5 $\pm$ 0.7") == 4
    assert r"steps\_20" in latex
    picture = saved(page, tmp_path, "save-plot", "curves.svg")
    assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("width", [500, 1000, 1600])
def test_nothing_is_wider_than_the_window(page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        scrolled = (
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert page.execute_script(scrolled) == 0
        assert page.execute_script("return innerWidth") == width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_command_of_every_run(page):
    row = page.find_element(By.CSS_SELECTOR, f'tr[data-name="{DIVERGED}"]')
    row.find_element(By.XPATH, ".//button[text()='runs']").click()
    commands = [one.text for one in page.find_elements(By.CSS_SELECTOR, "tr.runs code")]
    assert [line.rsplit(" ", 2)[1:] for line in commands] == [["--seeds", "1"], ["--seeds", "2"]]
    for part in ("--rule krum", "--attack empire", "--momentum-at update", "--f 12", "--steps 20"):
        assert part in commands[0]
    assert f"diverged at step {DIVERGES_AT}" in text(page, "tr.runs .commands")
    page.find_element(By.CSS_SELECTOR, "tr.runs button.copy").click()
    WebDriverWait(page, 5).until(
        lambda page: text(page, "tr.runs button.copy") in ("copied", "selected")
    )


def test_the_table_sorts(page):
    head = page.find_element(By.XPATH, "//thead//th[text()='highest, %']")
    head.click()
    assert rows(page)[0][7] == min(row[7] for row in rows(page))
    page.find_element(By.XPATH, "//thead//th[text()='highest, %']").click()
    assert rows(page)[0][1] == "average"


def test_light_and_dark(page):
    def ground():
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = ground()
    page.find_element(By.ID, "theme").click()
    assert ground() != light
    assert len(drawn(page)[0]) == 3


def test_a_page_of_one_table(browser, tmp_path):
    for rule, strength in (("median", 0.25), ("krum", math.inf)):
        measured = [
            {"attack": attack, "kind": "fixed", "step": 0, "strength": times * strength}
            | {"cosine": 0.5}
            for attack, times in (("zero", 1), ("<b>", 2))
        ]
        configuration = {"dataset": "digits", "rule": rule, "n": 5, "f": 1, "seed": 1}
        configuration |= {"send": "momenta", "at_step": [0], "iterations": 2, "climbers": 1}
        summary = {"measured": measured} | provenance()
        records.write_run(tmp_path, rule, configuration, {"step": np.arange(1)}, summary)
    assert command([str(tmp_path)]) == 0
    browser.get((tmp_path / "report.html").as_uri())
    WebDriverWait(browser, 60).until(lambda page: count(page, "body[data-drawn]"))
    assert text(browser, ".heat caption") == "n = 5, f = 1"
    cells = browser.find_elements(By.CSS_SELECTOR, ".heat tbody tr")
    assert [row.text.split() for row in cells] == [["zero", "∞", "0.250"], ["<b>", "∞", "0.500"]]
    browser.find_elements(By.CSS_SELECTOR, ".heat button")[3].click()
    assert "<b>" in text(browser, "#cell") and "0.500" in text(browser, "#cell")
    press(browser, "rule", "median")
    table = csv.DictReader(io.StringIO(saved(browser, tmp_path, "save-csv", "table.csv")))
    assert [(row["attack"], row["strength"]) for row in table] == [("zero", "0.25"), ("<b>", "0.5")]
    assert browser.get_log("browser") == []
