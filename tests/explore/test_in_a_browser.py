"""The pages in headless Chromium, by clicking and by the keyboard: no other host, no errors, nothing wider than the window."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pytest

import pyro_popbias as pb

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: the extra browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, the Debian package chromium"),
]
MAIN = "from pyro_popbias.cli.app import main; main()"
PATIENCE = 120_000  # milliseconds
WIDTHS = (1280, 390)


@contextmanager
def served(run, *options):
    """Serve a run as the command does; yield its address."""
    command = [sys.executable, "-c", MAIN, "explore", str(run), "--no-browser", "--json", *map(str, options)]
    server = subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        yield json.loads("".join(iter(lambda: server.stdout.readline(), "}\n")) + "}")["address"]
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


@pytest.fixture(scope="module")
def address(short_training, make_frame, hostile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored")
    study = pb.Study(
        model={"affinity": {"name": "embedding", "dim": 2}, "prior": {"name": "lognormal", "drift": "random-walk"}},
        guide={"name": "markov"},
        training={"epochs": 1, "batch_size": 200, "phase_two": 0},
    )
    frame = make_frame(users=40, items=40, rows=800)
    events = pb.Interactions.from_frame(frame, label="label", time="time", periods=3)
    pb.fit(events, study=study, progress=False).save(folder / "run")
    named = {f"i{n}": title for n, title in enumerate(hostile[:40]) if "\x00" not in title and "\n" not in title}
    named["i7"] = "Seven Samurai"
    table = pd.DataFrame({"item": list(named), "title": list(named.values())})
    table.to_csv(folder / "titles.csv", index=False)
    with served(folder / "run", "--titles", folder / "titles.csv") as found:
        yield found


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, address):
    """Return a function: width to a page that has been let in; what it asks for and says is judged at the end."""
    asked, said = [], []

    def at(width, **options):
        context = chromium.new_context(viewport={"width": width, "height": 844}, **options)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address)
        playwright.expect(page).not_to_have_title(re.compile("^Reading"), timeout=PATIENCE)
        assert "token" not in page.url
        return page

    yield at
    here = address.split("?")[0]
    assert asked
    assert not [url for url in asked if not url.startswith((here, "data:"))]
    assert not said


def narrow_enough(page, width):
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_search_item_user_and_knob_by_clicking(visit, width):
    page = visit(width)
    narrow_enough(page, width)
    page.get_by_label("Search items and users").fill("samurai")
    page.get_by_role("button", name="Search").click()
    narrow_enough(page, width)
    page.get_by_role("link", name="Seven Samurai").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Seven Samurai"
    page.get_by_text("The numbers").first.click()
    narrow_enough(page, width)
    assert page.evaluate("Array.from(document.images).every(image => image.naturalWidth > 0)")
    page.get_by_role("link", name="Drift").click()
    narrow_enough(page, width)
    page.get_by_role("link", name="run", exact=True).click()
    page.locator(".chips a").first.click()
    assert page.locator("section.listing").count() == 5
    narrow_enough(page, width)
    page.get_by_role("link", name="Move between the lists").click()
    page.wait_for_selector("#moves img")  # computed beside, and shown by itself
    narrow_enough(page, width)


def test_the_slider_moves_by_the_keyboard(visit):
    page = visit(1280)
    page.get_by_role("link", name="Knob", exact=True).click()
    slider = page.get_by_role("slider", name=re.compile("Share of an item's own popularity"))
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    playwright.expect(page.locator("#said")).to_have_text(re.compile("^Share 0.65:"), timeout=PATIENCE)
    assert page.locator("#list-share").inner_text() == "The list at 0.65"
    assert "share=0.65" in page.url  # to send it to others, who need the token besides
    assert page.evaluate("document.activeElement.id") == "share"


def test_the_skip_link_comes_first(visit):
    page = visit(390)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_pages_do_without_scripts(chromium, address):
    context = chromium.new_context(java_script_enabled=False)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(address)
    page.get_by_role("link", name="Knob", exact=True).click()
    page.get_by_role("slider").fill("0.25")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**/knob?user=*&share=0.25")
    assert page.locator("#said").inner_text().startswith("Share 0.25:")


def test_dark_is_dark(visit):
    page = visit(1280, color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
