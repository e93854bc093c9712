"""The command that shows a run in a browser: explore."""

import html
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyro_popbias.cli.options import Json, Run
from pyro_popbias.cli.outputs import print_json, visible
from pyro_popbias.cli.several_processes import leave

if TYPE_CHECKING:
    from pyro_popbias.explore.explorer import Explorer

MANIFEST = "manifest.json"  # as storage.folder_state, which imports torch
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of 127.0.0.1; left out, any that is free.")]


def explore(
    run: Run,
    port: Port = 0,
    titles: Annotated[Path | None, typer.Option(help="File with columns item and title, to show names.")] = None,
    test: Annotated[Path | None, typer.Option(help="File of interactions that the fit has not seen.")] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open no browser.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a run in a browser: items, users, knob, drift.

    Serves pages to this machine only, until Ctrl-C: what is popular and how sure that is, a user's list under each
    popularity mode side by side, and a slider between the debiased list and the one as observed. With --test also what each
    position costs in accuracy. Whoever has the address that is printed may see the run; nothing is written to it. Needs an
    extra: pip install 'pyro-popbias[explore]'.

    Examples:
      popbias explore run
      popbias explore run --titles movies.csv --test test.csv
      popbias explore run --port 8080 --no-browser
    """
    serve = _server()
    name, about = run.resolve().name, _about(run)

    def ready(address: str) -> None:
        if as_json:
            print_json({"address": address})
        else:
            typer.echo(f"Serving {visible(str(run))} at {address}\nPress Ctrl-C to stop.")
        if not no_browser:
            _open_browser(address, Path(own))

    with TemporaryDirectory(prefix="popbias-explore-") as own:
        whole = serve(lambda: _explorer(run, titles, test), name=name, about=about, port=port, ready=ready)
    typer.echo("stopped", err=True)
    if not whole:
        leave(0)


def _open_browser(address: str, folder: Path) -> None:
    """Open an address in a browser, by a page that leads there: what a program is called with, everybody on a machine can read.

    Args:
        address: with its token.
        folder: one that nobody else can read.
    """
    import webbrowser

    page = folder / "open.html"
    page.write_text(f'<meta http-equiv="refresh" content="0;url={html.escape(address)}">', encoding="utf-8")
    # a browser in a terminal would hold the server up
    Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True).start()


def _server() -> Any:
    """Return what serves.

    Raises:
        ConfigError: the libraries of the extra are not there.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        from pyro_popbias.errors import ConfigError

        raise ConfigError(
            "PB-C540: popbias explore needs starlette and uvicorn; pip install 'pyro-popbias[explore]'"
        ) from None
    from pyro_popbias.explore.server import serve

    return serve


def _about(run: Path) -> list[str]:
    """Return the lines of a run's card, which is read at once; without a finished run the error is that of any command."""
    from pyro_popbias.cli.answer_commands import opened_run

    if not (run / MANIFEST).is_file():
        opened_run(run)
    try:
        lines = (run / "card.md").read_text(encoding="utf-8")[:5_000].splitlines()
    except (OSError, UnicodeDecodeError):  # reading the run says what is wrong with it
        return []
    return [line.lstrip("# ") for line in lines if line.strip()]


def _explorer(run: Path, titles: Path | None, test: Path | None) -> "Explorer":
    """Return the pages of a run, with what they show of the files."""
    from pyro_popbias.cli.answer_commands import opened_run
    from pyro_popbias.cli.fit_and_compare import read_test
    from pyro_popbias.explore.explorer import Explorer
    from pyro_popbias.explore.opened import Opened
    from pyro_popbias.report.titles import read_titles

    fit = opened_run(run)
    return Explorer(Opened(fit, read_titles(titles), None if test is None else read_test(fit.study, test)))
