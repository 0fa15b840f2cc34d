"""The pages of runs in a browser: on a telephone and a desk, light and dark, by keyboard, without a network."""

import shutil

import pytest
from small_runs import CPU, run_spec, silent

from trainer.evaluation.reporting import comparison_page, run_report
from trainer.experiments import paper_tables, reproduce
from trainer.training.fit import fit

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIGURES = run_report._figures  # the real ones, which the tests here leave out


@pytest.fixture(scope="module")
def chromium():
    driver = pytest.importorskip("playwright.sync_api")
    if BROWSER is None:
        pytest.skip("no chromium or google-chrome on the path")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(patterns, tmp_path_factory):
    """A page of each kind, by name."""
    runs, out = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_report, "_figures", FIGURES)
        made = [fit(run_spec(patterns, name, "epochs=2"), runs, CPU, silent) for name in ("resnet", "resnet_island")]
    comparison_page.write(made, runs / "report.html")
    grid = reproduce.Grid(manifests=patterns.parent, runs=runs, preset="demo", folds=(1,), seeds=(0,), device=CPU)
    for name, item in reproduce.find(["if-gan"]).items():
        paper_tables.write(name, item, grid, out)
    return {"run": made[0].folder / "report.html", "comparison": runs / "report.html", "paper": out / "if-gan.html"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("kind", ["run", "comparison", "paper"])
def test_a_page_fits_its_window_and_asks_for_nothing(kind, width, scheme, chromium, pages):
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab, asked, failures = context.new_page(), [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: failures.append(message.text))
    tab.goto(pages[kind].as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [url for url in asked if not url.startswith("data:")] == [pages[kind].as_uri()] and failures == []
    ground, text = (tab.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    brightness = [sum(map(int, colour.strip("rgb()").split(","))) for colour in (ground, text)]
    assert (brightness[0] > brightness[1]) == (scheme == "light")
    labels = tab.locator("figure svg text").first  # a figure's words have the page's colour
    if kind != "paper":
        assert labels.evaluate("node => getComputedStyle(node).fill") == text
    context.close()


def test_a_page_is_walked_by_keyboard_and_wide_tables_scroll_in_their_own_box(chromium, pages):
    tab = chromium.new_page(viewport={"width": 400, "height": 900})
    tab.goto(pages["run"].as_uri())
    for card in ("expressions", "people", "trust"):
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.hash") == f"#{card}"
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.keyboard.press("Enter")
    assert tab.url.endswith("#trust")
    box = tab.locator("#expressions .scroll").first
    box.focus()
    assert box.evaluate("node => node.scrollWidth > node.clientWidth")
    tab.keyboard.press("ArrowRight")
    tab.wait_for_timeout(500)  # it scrolls smoothly; the page's policy lets no script wait in it
    assert box.evaluate("node => node.scrollLeft") > 0
    tab.locator("summary").last.focus()
    tab.keyboard.press("Enter")
    assert tab.locator("details").last.evaluate("node => node.open")
    tab.close()


def test_a_page_prints_dark_on_white(chromium, pages):
    context = chromium.new_context(color_scheme="dark")
    tab = context.new_page()
    tab.goto(pages["run"].as_uri())
    tab.emulate_media(media="print", color_scheme="dark")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--text')") == "#1b1f24"
    assert len(tab.pdf()) > 10_000
    context.close()
