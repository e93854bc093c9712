"""Make docs/explore.png anew: the knob of a simulated run in headless Chromium. It needs `pip install 'pyro-popbias[browser]'`.

python benchmarks/explore_picture.py [--out docs/explore.png]
"""

import argparse
import io
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image
from playwright.sync_api import expect, sync_playwright

import pyro_popbias as pb

WIDTH, HEIGHT = 1200, 900
COLORS = 256  # of the picture, which has few
STUDY = {
    "model": {
        "affinity": {"name": "embedding", "dim": 4, "item_quality": True, "user_bias": True},
        "exposure": "negative-binomial",
    },
    "training": {"epochs": 20, "batch_size": 512, "phase_two": 0},
}
WAIT = 180_000  # milliseconds
MAIN = "from pyro_popbias.cli.app import main; main()"


def make_run(folder: Path) -> None:
    """Write a run, and a test that it has not seen."""
    sim = pb.simulate(
        users=200, items=100, interactions=8_000, dim=4, quality=0.7, exposure=1.0, exposure_dispersion=10, seed=0
    )
    pairs = sim.frame.drop_duplicates(["user", "item"])  # a test holds no pair that was trained on
    train, test = pb.Interactions.from_frame(pairs, label="label").split("random", test=0.2, seed=0)
    columns = {"user": "user", "item": "item", "label": "label"}
    pb.fit(train, study=pb.Study(data=columns, **STUDY), progress=False).save(folder / "run")
    rows = {"user": test.users[test.user], "item": test.items[test.item], "label": test.label}
    pd.DataFrame(rows).to_csv(folder / "test.csv", index=False)


def main() -> None:
    """Simulate, fit, serve, and photograph."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "explore.png")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_run(folder)
        command = [sys.executable, "-c", MAIN, "explore", folder / "run", "--test", folder / "test.csv"]
        command += ["--no-browser", "--json"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        address = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")["address"]
        with sync_playwright() as tool:
            path = shutil.which("chromium") or shutil.which("google-chrome")
            browser = tool.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.goto(address)
            expect(page).not_to_have_title(re.compile("^Reading"), timeout=WAIT)
            page.goto(f"{address.split('?')[0]}knob?user=u7&share=0.3")
            expect(page.locator("#moves img")).to_have_count(2, timeout=WAIT)
            image = Image.open(io.BytesIO(page.screenshot(full_page=True)))
            image.quantize(COLORS, method=Image.Quantize.FASTOCTREE).save(out, optimize=True)
            browser.close()
        server.send_signal(signal.SIGINT)
        server.wait(60)
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
