"""`popbias explore`: its address, what it refuses, and that it leaves the run as it is."""

import builtins
import html
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path
from threading import Event
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest
from typer.testing import CliRunner

from pyro_popbias.cli import explore_command
from pyro_popbias.cli.app import app

MAIN = "from pyro_popbias.cli.app import main; main()"


def error_of(*arguments):
    done = CliRunner().invoke(app, ["explore", *map(str, arguments), "--no-browser"])
    assert done.exception is not None
    return str(done.exception)


def test_a_missing_extra_is_one_line(golden_run, monkeypatch):
    imported = builtins.__import__

    def without_uvicorn(name, *arguments):
        if name == "uvicorn":
            raise ImportError(name)
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_uvicorn)
    said = error_of(golden_run)
    assert said == "PB-C540: popbias explore needs starlette and uvicorn; pip install 'pyro-popbias[explore]'"


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_a_run_is_refused_before_it_is_served(tmp_path, made):
    if made:
        (tmp_path / "run").mkdir()
    assert error_of(tmp_path / "run").startswith("PB-R")


def test_a_port_that_is_taken_is_refused(golden_run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = error_of(golden_run, "--port", port)
    assert said.startswith(f"PB-C541: cannot listen on port {port} of 127.0.0.1: ")
    assert "leave --port out" in said


@pytest.mark.parametrize("broken", ["run", "titles"])
def test_what_is_wrong_with_a_file_ends_the_server(golden_run, tmp_path, broken):
    titles = tmp_path / "titles.csv"
    titles.write_text("item,name\ni1,One\n" if broken == "titles" else "item,title\ni1,One\n")
    if broken == "run":
        (golden_run / "popularity.csv").write_text("")
        (golden_run / "parameters.safetensors").write_bytes(b"x" * 100)
    assert error_of(golden_run, "--titles", titles).startswith("PB-")


@pytest.mark.slow
def test_it_serves_until_it_is_interrupted(golden_run, folder_hash):
    before = folder_hash(golden_run)
    command = [sys.executable, "-c", MAIN, "explore", str(golden_run), "--no-browser", "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as server:
        try:
            printed = "".join(iter(lambda: server.stdout.readline(), "}\n")) + "}"
            address = json.loads(printed)["address"]
            assert address.startswith("http://127.0.0.1:")
            bare = address.split("?")[0]
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(bare, timeout=60)  # noqa: S310
            opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
            while "Reading" in (page := opener.open(address, timeout=60).read().decode()):
                pass
            assert "product" in page
        finally:
            server.send_signal(signal.SIGINT)
        out, error = server.communicate(timeout=60)
    assert server.returncode == 0
    assert (out, error) == ("", "stopped\n")
    assert folder_hash(golden_run) == before


def test_the_token_is_in_no_argument_of_the_browser(golden_run, monkeypatch):
    """Arguments of a process can be read by every user of a machine."""
    address, opened, seen = "http://127.0.0.1:1/?token=se%22cret&x=1", Event(), {}

    def browser(given):
        page = Path(url2pathname(urlparse(given).path))
        seen.update(given=given, page=page.read_text(), open_to=page.parent.stat().st_mode & 0o077)
        opened.set()

    def serve(read, *, ready, **options):
        ready(address)
        assert opened.wait(60)
        return True

    monkeypatch.setattr(webbrowser, "open", browser)
    monkeypatch.setattr(explore_command, "_server", lambda: serve)
    done = CliRunner().invoke(app, ["explore", str(golden_run)])
    assert done.exit_code == 0
    assert "cret" not in seen["given"]
    assert f"url={html.escape(address)}" in seen["page"]
    assert seen["open_to"] == 0
    assert not Path(url2pathname(urlparse(seen["given"]).path)).exists()
