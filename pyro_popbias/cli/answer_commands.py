"""The commands that ask a run for answers: popularity, items, predict, recommend, similar."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyro_popbias.cli.choices import Unseen, part_of, popularity_mode
from pyro_popbias.cli.options import PRINTED, Calibrated, Json, Mode, Output, Run, Unknown
from pyro_popbias.cli.outputs import emit, refuse_input_as_output

if TYPE_CHECKING:
    from pyro_popbias.fitted import Fit


def opened_run(run: Path) -> "Fit":
    """Return the fit of a run folder."""
    from pyro_popbias.fitted import load

    return load(run)


def _ids(file: Path | None, column: str) -> list[str] | None:
    """Return the ids in a column of a file; None for no file."""
    from pyro_popbias.data.table_files import read_table

    return None if file is None else list(read_table(file, text=(column,))[column])


def popularity(run: Run, output: Output = None, as_json: Json = False) -> None:
    """Show the popularity of each item, with 90 % intervals.

    One row per item and period: its number of rows and of positives, mean, sd and 90 % interval of the posterior of its
    popularity z, and the prior's mean. prior_only marks items of which nothing but the prior is known.

    Examples:
      popbias popularity run
      popbias popularity run -o popularity.csv
      popbias popularity run --json | jq '.[0]'
    """
    refuse_input_as_output(output, run)
    emit(opened_run(run).popularity(), output, as_json=as_json, most=PRINTED)


def items(run: Run, output: Output = None, as_json: Json = False) -> None:
    """Show the quality of each item beside its popularity.

    Quality is how much more all users like an item, however popular it is; quality_share is the share of its clicks that
    would remain at the popularity of the population. Needs a fit in which items have a quality.

    Examples:
      popbias items run
      popbias items run -o items.parquet
    """
    refuse_input_as_output(output, run)
    emit(opened_run(run).items(), output, as_json=as_json, most=PRINTED)


def predict(
    run: Run,
    pairs: Annotated[Path, typer.Argument(help="File with columns user and item, or those of the study.")],
    output: Output = None,
    popularity: Mode = "population",
    unseen: Unknown = Unseen.error,
    calibrated: Calibrated = False,
    as_json: Json = False,
) -> None:
    """Score pairs of a user and an item by P(c=1 | do(u,i)).

    The score integrates popularity over one distribution for all items, so that an item's own popularity does not raise it;
    --popularity names another one. score_lower to score_upper is its 90 % interval; popularity_lower to popularity_upper says
    how far popularity moves the probability.

    Examples:
      popbias predict run pairs.csv -o scores.csv
      popbias predict run pairs.csv --popularity posterior --unseen prior
    """
    from pyro_popbias.data.table_files import read_table

    refuse_input_as_output(output, run, pairs)
    fitted = opened_run(run)
    own = [name for name in (fitted.study.data.user, fitted.study.data.item) if name is not None]
    frame = read_table(pairs, text_if_there=("user", "item", *own))
    mode = popularity_mode(fitted, popularity)
    found = fitted.predict(frame, popularity=mode, unseen=unseen.value, calibrated=calibrated)
    emit(found, output, as_json=as_json, most=PRINTED)


def recommend(
    run: Run,
    output: Output = None,
    users: Annotated[Path | None, typer.Option(help="File with a column user; all users if left out.")] = None,
    k: Annotated[int, typer.Option("-k", help="Number of items per user.")] = 10,
    popularity: Mode = "population",
    items: Annotated[Path | None, typer.Option(help="File with a column item: recommend these only.")] = None,
    exclude: Annotated[Path | None, typer.Option(help="File with a column item: recommend none of these.")] = None,
    unseen: Unknown = Unseen.error,
    p_top_k: Annotated[
        bool, typer.Option("--p-top-k", help="Add the probability of each item being in the list; takes longer.")
    ] = False,
    calibrated: Calibrated = False,
    shard: Annotated[str | None, typer.Option(help="Part of the users to answer: 2/8 is the second of eight.")] = None,
    as_json: Json = False,
) -> None:
    """List each user's best items by P(c=1 | do(u,i)).

    Items that a user has a row of are left out. Items whose score intervals overlap are ties as far as the data can tell. With
    --unseen prior users that the fit does not know get the list of a user of whom nothing is known.

    Examples:
      popbias recommend run -o lists.csv
      popbias recommend run --users active.csv -k 20 --exclude sold-out.csv
      popbias recommend run --popularity posterior -o undebiased.csv
    """
    refuse_input_as_output(output, run, users, items, exclude)
    ids, among, without = _ids(users, "user"), _ids(items, "item"), _ids(exclude, "item")
    part, fitted = part_of(shard), opened_run(run)
    if part is not None:
        ids = part.of(list(dict.fromkeys(fitted.catalogue.users if ids is None else ids)))
    found = fitted.recommend(
        ids,
        k=k,
        popularity=popularity_mode(fitted, popularity),
        p_top_k=p_top_k,
        calibrated=calibrated,
        items=among,
        exclude=without,
        unseen=unseen.value,
    )
    emit(found, output, as_json=as_json, most=PRINTED)


def similar(
    run: Run,
    item: Annotated[str, typer.Argument(help="Id of an item.")],
    k: Annotated[int, typer.Option("-k", help="Number of items.")] = 10,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """List the items whose vectors are most like an item's.

    Similarity is the cosine between posterior means of vectors: whom an item appeals to, whatever its popularity and quality.
    Needs an affinity that has vectors of items.

    Examples:
      popbias similar run 318
      popbias similar run 318 -k 5 --json
    """
    refuse_input_as_output(output, run)
    emit(opened_run(run).similar(item, k=k), output, as_json=as_json)
