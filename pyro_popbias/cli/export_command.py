"""The command that hands a run to other tools: export."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_popbias.cli.answer_commands import opened_run
from pyro_popbias.cli.choices import Vectors, popularity_mode
from pyro_popbias.cli.options import Json, Mode, Run
from pyro_popbias.cli.outputs import refuse_inside, tell


def export(
    run: Run,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write; new or empty, unless overwritten.")],
    popularity: Mode = "population",
    vectors: Annotated[
        Vectors, typer.Option(help="Refuse vectors that rank only nearly as the run does, take them, or write none.")
    ] = Vectors.exact,
    lists: Annotated[int, typer.Option(help="Also write this many items of each user's list.")] = 0,
    text_ids: Annotated[
        bool, typer.Option("--text-ids", help="Write ids as text even where all of them are integers.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier export once this one is complete.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write vectors, items and lists for faiss, hnswlib and so on.

    Inner products of the vectors of users and items rank items as the run does: by interest, whatever their popularity. Where
    vectors have a posterior (the default of embeddings), they do so only nearly: --vectors approximate takes posterior means and
    says how much of the lists agrees, --vectors none --lists 100 writes the lists themselves. The folder's manifest.json says
    what is in it.

    Examples:
      popbias export run -o vectors --vectors approximate
      popbias export run -o vectors --vectors exact --overwrite
      popbias export run -o lists --vectors none --lists 100
    """
    from pyro_popbias.interfaces.export import export as write_export

    refuse_inside(output, run)
    fitted = opened_run(run)
    manifest = write_export(
        fitted,
        output,
        popularity=popularity_mode(fitted, popularity),
        vectors=vectors.value,
        lists=lists,
        ids="text" if text_ids else "own",
        overwrite=overwrite,
    )
    lines = [f"{name}: {said['rows']:,} rows" for name, said in manifest["files"].items()]
    found = manifest["vectors"]
    if found is not None:
        alike = found["agreement"]
        lines.append(
            f"vectors of {found['dim']} coordinates; by inner product, {100 * alike['share_of_items']:.1f} % of the "
            f"{alike['k']} best items of {alike['users']} users are those of the run "
            f"({'exact' if found['exact'] else 'approximate'})"
        )
    tell([*lines, f"-> {output}"], manifest, as_json=as_json)
