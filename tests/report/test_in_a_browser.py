"""The report in headless Chromium: no errors, and nothing wider than the window, on a desk and on a telephone."""

import functools
import http.server
import re
import shutil
import subprocess
import threading

import pytest

import pyro_popbias as pb
from pyro_popbias.report.html import render

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, the Debian package chromium"),
]
# a page of the same origin looks at the report in frames of both widths, when the report is there
LOOKER = """<!DOCTYPE html><title>waiting</title>
<iframe src="report.html" width="1280" height="900"></iframe><iframe src="report.html" width="390" height="844"></iframe>
<script>onload = () => { document.title = Array.from(document.querySelectorAll("iframe"), frame => {
  const page = frame.contentDocument.documentElement;
  const broken = Array.from(frame.contentDocument.images).filter(image => !image.naturalWidth).length;
  return [frame.width, page.scrollWidth, frame.contentDocument.images.length, broken].join(",");
}).join(";"); };</script>"""


def browse(address, profile):
    """Return the page as Chromium has it after loading, and what it said meanwhile."""
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture(scope="module")
def address(short_training, make_frame, hostile, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training={"epochs": 2, "batch_size": 200})
    fit = pb.fit(pb.Interactions.from_frame(make_frame(), label="label"), study=study, progress=False)
    titles = dict(zip(fit.catalogue.items, hostile[20:], strict=False))
    (folder / "report.html").write_text(render(fit, titles))
    (folder / "looker.html").write_text(LOOKER)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_report_says_nothing_on_the_console(address, tmp_path):
    page, said = browse(f"{address}/report.html", tmp_path)
    assert "</html>" in page
    assert not said


def test_nothing_is_wider_than_the_window(address, tmp_path):
    page, _ = browse(f"{address}/looker.html", tmp_path)
    title = re.search(r"<title>(.*?)</title>", page)[1]
    for found, window in zip(title.split(";"), (1280, 390), strict=True):
        width, scroll, images, broken = map(int, found.split(","))
        assert width == window
        assert scroll <= width
        assert images >= 7
        assert broken == 0
