"""Reports in a real browser: what a reader does by hand and by keyboard, on a phone, in the dark, on paper."""

import os
import shutil
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from fastbat.report import write_report
from report_records import HOSTILE, comparison, hostile, run_with_everything

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PATIENT = 120_000  # ms, on a machine that has other work


def leave(why):
    """Skip, or fail where the tests in a browser are what was asked for."""
    if os.environ.get("BROWSER_TESTS") == "required":
        pytest.fail(why)
    pytest.skip(why, allow_module_level=True)


try:
    from playwright.sync_api import sync_playwright
except ImportError:
    leave("playwright is not installed: make test-browser")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
        program = next(filter(None, [*found, playwright.chromium.executable_path]))
        if not Path(program).exists():
            leave("there is no Chromium here: make test-browser")
        launched = playwright.chromium.launch(executable_path=program, args=QUIET, timeout=PATIENT)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    kept = {
        "suite": comparison(folder / "suite"),
        "one": run_with_everything(folder / "run"),
        "hostile": hostile(folder / "h"),
    }
    return {name: write_report([each], folder / f"{name}.html") for name, each in kept.items()}


@pytest.fixture
def opened(browser, pages):
    """Open a page, and look after it that nothing was said to the console and nothing asked of a network."""

    @contextmanager
    def open_page(name, width=1280, **how):
        context = browser.new_context(viewport={"width": width, "height": 900}, **how)
        context.set_default_timeout(PATIENT)
        page, said, asked = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(pages[name].as_uri())
        if how.get("java_script_enabled", True):
            page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        yield page
        assert said == []
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        context.close()

    return open_page


def column(page, kind, group="g1"):
    """Return the values of a column, from top to bottom, of the rows that are shown."""
    values = page.eval_on_selector_all(f"#{group} tr.row:not([hidden]) .{kind}", "cells => cells.map(c => c.dataset.v)")
    return [float(value) for value in values if value]


def test_tables_sort_by_keyboard_within_their_groups_and_say_so(opened):
    with opened("suite") as page:
        page.focus('button[data-sort="clean"]')
        page.keyboard.press("Enter")
        assert column(page, "acc.clean") == sorted(column(page, "acc.clean"), reverse=True)
        assert len(column(page, "acc.clean")) == 6
        assert page.get_attribute("th:has(button[data-sort=clean])", "aria-sort") == "descending"
        assert page.text_content("#live") == "Sorted by SA, highest first, within the groups"
        page.keyboard.press("Enter")
        assert column(page, "acc.clean") == sorted(column(page, "acc.clean"))
        page.focus('button[data-sort="cost"]')
        page.keyboard.press("Enter")
        assert column(page, "c-cost") == sorted(column(page, "c-cost"))
        heads = page.eval_on_selector_all("#board tbody", "all => all.every(b => b.children[0].className === 'grp')")
        assert heads is True


def test_tables_filter_by_keyboard(opened):
    with opened("suite") as page:
        every = page.text_content("#count")
        page.keyboard.press("/")
        page.keyboard.type("n-fgsm raw")
        assert page.text_content("#count") == "2 rows"
        assert set(page.locator("#board tr.row:visible .c-name").all_text_contents()) == {"N-FGSMshortcut raw"}
        page.fill("#q", "nothing of the kind")
        assert page.is_visible("#empty")
        page.click("#clear")
        assert page.text_content("#count") == every
        page.check('[name=eps][value="8"]')
        assert page.is_hidden("#g1")
        assert page.is_visible("#g2")
        page.check("#sound")
        assert page.locator("#board tr.fell:visible").count() == 0


def test_a_number_says_where_it_is_from_on_hover_and_on_focus(opened):
    with opened("suite") as page:
        assert page.locator('#board .n[tabindex="0"]').count() == 1  # one stop for Tab
        page.focus('#board .n[tabindex="0"]')
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        page.wait_for_selector("#pop:visible")
        said = page.text_content("#pop")
        assert all(
            word in said for word in ("RA-PGD-50-10 of", "of 1,000", "one seed, 0", "commit", "machine", "training")
        )
        page.keyboard.press("Escape")
        assert page.is_hidden("#pop")
        page.keyboard.press("Enter")
        assert page.url.endswith("#s1")
        page.hover("#g1 .acc.pgd .n >> nth=2")
        page.wait_for_selector("#pop:visible")
        page.hover("#pop")
        page.wait_for_timeout(250)  # longer than a card waits before it goes
        assert page.is_visible("#pop")


def painted(page):
    """Return what a surface looks like: its pixels, and how many colours they have."""
    pixels = Image.open(BytesIO(page.locator("canvas.s3").screenshot())).convert("RGB")
    return pixels.tobytes(), len(pixels.getcolors(1 << 24))


def test_the_surface_is_drawn_and_turns_by_key_and_by_hand(opened):
    with opened("one") as page:
        page.locator("canvas.s3").scroll_into_view_if_needed()
        page.wait_for_timeout(300)
        first = painted(page)
        assert first[1] > 50
        page.focus("canvas.s3")
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(200)
        second = painted(page)
        assert second[0] != first[0]
        box = page.locator("canvas.s3").bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 170, box["y"] + 120)
        page.mouse.up()
        page.wait_for_timeout(200)
        assert painted(page)[0] != second[0]


def test_curves_are_read_by_keyboard_and_colours_are_chosen(opened):
    with opened("one") as page:
        page.focus(".mini")
        page.keyboard.press("ArrowRight")
        assert page.text_content("#live").startswith("Epoch 1: SA ")
        page.keyboard.press("ArrowRight")
        assert page.text_content("#live").startswith("Epoch 2: SA ")
        page.click("#theme")
        page.click("#theme")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 24, 27)"


def test_a_hostile_name_is_text(opened):
    with opened("hostile") as page:
        assert HOSTILE in page.text_content("#board")
        assert page.locator("#board script, #board img, main svg img, [onerror]").count() == 0
        page.hover("#board .acc .n >> nth=0")
        page.wait_for_selector("#pop:visible")
        assert page.locator("#pop script, #pop img").count() == 0


def test_a_link_to_a_hidden_row_shows_it(opened):
    with opened("suite") as page:
        hidden = page.eval_on_selector('#board tr.row[data-weights="last"]', "row => row.id")
        page.evaluate(f"location.hash = '{hidden}'")
        page.wait_for_selector(f"#{hidden}:visible")


@pytest.mark.parametrize("name", ["suite", "one", "hostile"])
def test_no_page_scrolls_sideways(name, opened):
    with opened(name) as page:
        for width in (1920, 1280, 768, 390, 320):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, width


def test_without_script_the_page_is_whole(opened):
    with opened("one", java_script_enabled=False) as page:
        assert page.is_visible(".plain .n")
        assert page.is_visible("noscript img")
        assert page.is_visible(".minis svg")
    with opened("suite", java_script_enabled=False) as page:
        assert page.is_visible("#board tr.row")


@pytest.mark.parametrize("name", ["suite", "one", "hostile"])
@pytest.mark.parametrize(("width", "colours"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing(name, width, colours, opened):
    from axe_playwright_python.sync_playwright import Axe

    with opened(name, width, color_scheme=colours, bypass_csp=True) as page:
        found = Axe().run(page, options={"runOnly": RULES}).response["violations"]
    assert [(each["id"], each["nodes"][0]["target"], each["nodes"][0].get("failureSummary")) for each in found] == []


def test_paper_has_every_row_and_no_tools(opened):
    with opened("suite") as page:
        page.emulate_media(media="print")
        assert page.is_hidden("#tools")
        assert page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--paper').trim()") == "#fff"
        assert page.locator("#board tr.row:visible").count() == int(page.text_content("#count").split()[0])
