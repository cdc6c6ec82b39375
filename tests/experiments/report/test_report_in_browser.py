"""The page in a real, headless Chromium: it loads without an error, filters, opens cells."""

import shutil

import pytest

from experiments.report.__main__ import command
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
    """Names of the mean curves that plotly holds, and how many bands and marks are there."""
    return page.execute_script(
        "const data = document.getElementById('plot').data;"
        "return [data.filter((one) => typeof one.meta === 'number').map((one) => one.name),"
        "  data.filter((one) => one.meta === 'band').length,"
        "  data.filter((one) => one.meta === 'diverged').length]"
    )


def move_to(page, plot, x, y):
    """The pointer goes where plotly draws (x, y); returns the actions, to click if wanted."""
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    left, top = page.execute_script(
        "const [plot, x, y] = arguments, { xaxis, yaxis } = plot._fullLayout;"
        "const box = plot.getBoundingClientRect();"
        "return [box.left + xaxis._offset + xaxis.d2p(x), box.top + yaxis._offset + yaxis.d2p(y)]",
        plot, x, y,
    )  # fmt: skip
    actions = ActionChains(page, duration=0)
    for offset in (3, 0):  # a second, small move: a pointer that only appears hovers nothing
        actions.w3c_actions.pointer_action.move_to_location(int(left) + offset, int(top))
    return actions


def click_cell(page, dataset, row, column):
    """A real click in the middle of a cell of a panel; returns the text that stands there."""
    panel = page.find_element(By.CSS_SELECTOR, f'[data-dataset="{dataset}"]')
    move_to(page, panel, column, row).click().perform()
    return page.execute_script(
        "return arguments[0].data[0].text[arguments[1]][arguments[2]]", panel, row, column
    )


def test_loads_and_says_what_it_shows(page):
    assert text(page, "h1") == "Momentum at the workers under attack"
    shown = text(page, "#shown")
    assert "72 runs of 36 configurations" in shown
    assert "1 diverged" in shown
    assert "gain" in text(page, "#heatmap-title")
    assert count(page, "#heatmaps .panel .heatmaplayer image") == 2
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
    press(page, "f", "12")
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
    plot = page.find_element(By.ID, "plot")
    step, accuracy = page.execute_script(
        "const [curve] = arguments[0].data; return [curve.x[3], curve.y[3]]", plot
    )
    move_to(page, plot, step, accuracy).perform()
    WebDriverWait(page, 5).until(lambda page: drawn(page)[1] == 1)
    hover = page.execute_script("return document.getElementById('plot').data[0].customdata[3]")
    assert "± " in hover
    assert "2 of 2 seeds" in hover


def test_quantities_and_metrics(page):
    page.find_element(By.CSS_SELECTOR, "[data-quantity=update]").click()
    panel = "return document.querySelector('[data-dataset=mnist]').data[0]"
    assert page.execute_script(f"{panel}.z[1][0]") == pytest.approx(41.5)
    for option in page.find_elements(By.CSS_SELECTOR, "#metric option"):
        option.click()
        assert len(drawn(page)[0]) == 3


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
