"""The command line. Each command imports what it needs, so that --help is quick.

Commands stand by topic in modules of this folder, and join by `COMMANDS`, in the order of the help.
"""

import os
import sys
import warnings
from typing import Annotated

import typer

from pyro_popbias.cli.answer_commands import items, popularity, predict, recommend, similar
from pyro_popbias.cli.calibrate import calibrate
from pyro_popbias.cli.completion import whole_words
from pyro_popbias.cli.explore_command import explore
from pyro_popbias.cli.export_command import export
from pyro_popbias.cli.judgement_commands import check, compare, evaluate, report
from pyro_popbias.cli.outputs import cannot_write, log_on_stderr, visible
from pyro_popbias.cli.registration import help_of, register
from pyro_popbias.cli.start_commands import demo, doctor, init, simulate, variants
from pyro_popbias.cli.training_commands import fit, tune, update
from pyro_popbias.version import __version__

COMMANDS = (
    *(demo, init, fit, update, popularity, items, predict, recommend, similar, export, evaluate, check, compare, tune),
    *(report, explore, simulate, calibrate, variants, doctor),
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # what draws boxes takes longer to import than all the rest
)
for command in COMMANDS:
    register(app, command)


def show_version(asked: bool) -> None:
    """Print the version and end, where it is asked for."""
    if asked:
        typer.echo(f"popbias {__version__}")
        raise typer.Exit


def command_line(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Bayesian treatment of popularity bias in recommender systems.

    From a table of interactions to debiased lists: init proposes a study, fit trains it, check says whether it can be relied on,
    and recommend lists each user's items. Every command has --help with examples, and --json for programs.

    Examples:
      popbias init --from ratings.csv
      popbias fit study.toml --out run
      popbias check run
      popbias recommend run -o lists.csv
      popbias report run -o report.html
    """


app.callback(help=help_of(command_line.__doc__ or ""))(command_line)


def main() -> None:
    """Run the command line; an error of the package is one line on standard error and its own exit code."""
    from pyro_popbias.cli.several_processes import leave, one_of_several
    from pyro_popbias.errors import LostRankError, PopBiasError

    warnings.formatwarning = lambda message, *_args, **_options: f"warning: {message}\n"
    opening = ""
    try:
        with whole_words(os.environ), log_on_stderr(), one_of_several(sys.argv[1:]) as opening:
            app(prog_name="popbias")  # not "python -m pyro_popbias", which no shell completes
    except OSError as error:
        known = error if isinstance(error, PopBiasError) else cannot_write(error)
        sys.stderr.write(visible(f"{opening}error: {known}\n"))
        sys.exit(known.exit_code)
    except PopBiasError as error:
        sys.stderr.write(visible(f"{opening}error: {error}\n"))
        if isinstance(error, LostRankError):
            leave(error.exit_code)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; continue with --resume\n")
        sys.exit(130)
