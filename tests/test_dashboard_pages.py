"""The dashboard's pages as a reader sees them, in a headless Chromium."""

import shutil
from types import SimpleNamespace

import pytest

from cases_dashboard import publish, served

pytestmark = pytest.mark.browser

# Of each canvas that Flot draws curves on: how many of its pixels have a colour, other than grey.
COLOURED = """
return Array.from(document.querySelectorAll(arguments[0] + " canvas.flot-base")).map(canvas => {
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let count = 0;
    for (let k = 0; k < data.length; k += 4) {
        const [r, g, b, alpha] = data.slice(k, k + 4);
        count += alpha > 0 && Math.max(r, g, b) - Math.min(r, g, b) > 60;
    }
    return count;
});
"""
PICTURE = 'return document.querySelector("#main-graph canvas.flot-base").toDataURL()'
LOADED = 'return performance.getEntriesByType("resource").map(entry => entry.name)'
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--window-size=1400,1000",
)  # fmt: skip


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    return publish(tmp_path_factory.mktemp("dashboard"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Return a Chromium, with `wait(question, ...)` for what comes true."""
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.support.ui import WebDriverWait

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium or chromedriver is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield SimpleNamespace(
            chrome=chrome, wait=lambda question: WebDriverWait(chrome, 60).until(question)
        )
    finally:
        chrome.quit()


@pytest.fixture
def page(browser, dashboard):
    """Return a function that opens a page by its hash; nothing may come from another host."""
    with served(dashboard.pages) as address:

        def opened(hash_=""):
            browser.chrome.get("about:blank")
            browser.chrome.get(f"{address}#{hash_}")
            return browser.chrome

        yield opened
        assert browser.chrome.current_url.startswith(f"{address}#")
        loaded = browser.chrome.execute_script(LOADED)
        assert loaded
        assert [url for url in loaded if not url.startswith(address)] == []


def texts(chrome, selector):
    return [each.text for each in elements(chrome, selector)]


def elements(chrome, selector):
    return chrome.find_elements("css selector", selector)


def curves(browser, selector, count=1):
    """Wait until so many canvases have curves on them."""
    browser.wait(
        lambda chrome: (
            len(found := chrome.execute_script(COLOURED, selector)) == count and min(found) > 0
        )
    )


def button(chrome, text):
    """Return the button of this text among those of a benchmark's parameters."""
    (found,) = [
        each for each in elements(chrome, "#graphdisplay-navigation-params .btn")
        if each.text == text
    ]  # fmt: skip
    return found


def test_the_grid_has_a_plot_of_each_benchmark(browser, dashboard, page):
    chrome = page()
    n_benchmarks = len(dashboard.benchmarks)
    browser.wait(lambda chrome: len(elements(chrome, ".benchmark-container")) == n_benchmarks)
    groups = {name.split(".")[0] for name in dashboard.benchmarks}
    assert set(texts(chrome, ".benchmark-group h1")) == groups
    shown = sorted(name.split(".", 1)[1] for name in dashboard.benchmarks)
    assert sorted(texts(chrome, ".benchmark-text")) == shown
    for each in elements(chrome, ".benchmark-container"):  # they are drawn as they come into view
        chrome.execute_script("arguments[0].scrollIntoView()", each)
    curves(browser, ".benchmark-plot", n_benchmarks)


def test_a_benchmark_is_plotted_by_its_parameters(browser, dashboard, page):
    chrome = page(dashboard.slowed)
    curves(browser, "#main-graph")
    (name,), (values,) = (
        dashboard.benchmarks[dashboard.slowed][key] for key in ("param_names", "params")
    )
    shown = texts(chrome, "#graphdisplay-navigation-params .btn")
    assert shown == ["commit", name, *(value.strip("'") for value in values)]
    assert chrome.find_element("id", "title").text == dashboard.slowed

    before = chrome.execute_script(PICTURE)
    button(chrome, dashboard.param).click()  # its curve goes
    browser.wait(lambda chrome: chrome.execute_script(PICTURE) != before)
    curves(browser, "#main-graph")

    button(chrome, name).click()  # across values instead of commits
    browser.wait(lambda chrome: "last" in texts(chrome, "#graphdisplay-navigation-params .btn"))
    curves(browser, "#main-graph")


def test_every_benchmark_has_a_plot(browser, dashboard, page):
    for name in dashboard.benchmarks:
        page(name)
        curves(browser, "#main-graph")


def test_the_regression_is_told(browser, dashboard, page):
    chrome = page("regressions")
    browser.wait(lambda chrome: elements(chrome, "#regressions-body tbody tr"))
    (row,) = texts(chrome, "#regressions-body tbody tr")
    assert dashboard.slowed in row
    assert dashboard.param in row
    assert dashboard.commit[:8] in row
    assert "1.5" in row
