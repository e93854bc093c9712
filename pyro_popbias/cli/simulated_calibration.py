"""What `popbias calibrate` does: a world is drawn from a study's model, the guide is fitted, and its ranks are judged."""

from collections.abc import Sequence
from pathlib import Path

from pyro_popbias.assembly.compatibility import check_fit, check_given
from pyro_popbias.checks.known_world import known_pair, with_given_affinity
from pyro_popbias.checks.simulated_ranks import SimulatedRanks, simulated_ranks
from pyro_popbias.cli.outputs import Said, refuse_missing_folder
from pyro_popbias.cli.pictures import require_png, write_picture
from pyro_popbias.cli.simulate_study import declared_simulation
from pyro_popbias.data.table_files import file_ending, write_table
from pyro_popbias.simulation.simulate import simulate
from pyro_popbias.study.study import Study
from pyro_popbias.training.restarts import train_restart
from pyro_popbias.validation import require_integer

ROWS = 50  # per item, on average
# Gamma(2, 2) factors of what items are shown in proportion to: a fifth of the items has fewer than 20 of 50 rows
DISPERSION = 2.0


def run_calibration(
    path: Path,
    *,
    items: int,
    interactions: int | None,
    seed: int,
    overrides: Sequence[str] = (),
    output: Path | None = None,
    plot: Path | None = None,
) -> Said:
    """Yield a table of calibration and what it says; return both, and whether every rule holds.

    Args:
        path: the study file.
        items: number of items.
        interactions: number of rows; 50 per item by default.
        seed: of the world.
        overrides: assignments such as "training.epochs=5".
        output: file of the ranks.
        plot: .png file of their plot.

    Raises:
        ConfigError: the study cannot be calibrated, or a size or the ending of a file is wrong.
        RunFolderError: a file cannot be read or written.
    """
    if output is not None:
        file_ending(output)
    require_png(plot)
    refuse_missing_folder(output)
    items = require_integer("items", items, 1)
    rows = ROWS * items if interactions is None else interactions
    found = calibrated(Study.from_toml(path, overrides), items=items, interactions=rows, seed=seed)
    table, findings = found.summary(), found.findings()
    yield table.round(4).to_string(index=False)
    for finding in findings:
        yield f"{'ok   ' if finding.passed else 'FAILS'} {finding.words}"
    if output is not None:
        write_table(found.table, output)
        yield f"{len(found.table)} rows -> {output}"
    if plot is not None:
        _draw(found, plot)
        yield f"wrote {plot}"
    if found.passed:
        yield found.verdict
    return {
        "study": path,
        "passed": found.passed,
        "verdict": found.verdict,
        "findings": [vars(finding) for finding in findings],
        "summary": table,
        "ranks": output,
        "plot": plot,
    }


def calibrated(study: Study, *, items: int, interactions: int, seed: int) -> SimulatedRanks:
    """Return the ranks of a world that is drawn from a study's model, in q as the study's training leaves it.

    Args:
        study: the study.
        items: number of items.
        interactions: number of rows.
        seed: of the world.

    Raises:
        ConfigError: the study cannot be calibrated, or a size is wrong.
    """
    check_given(study)
    study = with_given_affinity(study)
    check_fit(study.model.name, study.model.prior, study.guide.name)
    sizes = {"items": items, "interactions": interactions, "seed": seed}
    simulation = simulate(**declared_simulation(study.model) | sizes, exposure_dispersion=DISPERSION)
    pair = known_pair(study, simulation)
    train_restart(pair, 1, restarts=1)
    return simulated_ranks(pair, simulation)


def _draw(found: SimulatedRanks, path: Path) -> None:
    from pyro_popbias.report.rank_plot import rank_plot  # matplotlib takes a while to import

    write_picture(rank_plot(found), path)
