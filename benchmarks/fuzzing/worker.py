"""A process in which one target has its turn: `python -m fuzzing.worker TARGET ENGINE SECONDS NUMBER OUT CORPUS`."""

import resource
import sys
from pathlib import Path


def main(name: str, engine: str, seconds: str, number: str, out: str, corpus: str) -> None:
    """Throw what an engine makes at a target, for some seconds."""
    if engine == "atheris":
        import atheris

        with atheris.instrument_imports(include=["pyro_popbias"]):
            from fuzzing.turn import with_atheris
        more = [Path(corpus)] if Path(corpus).is_dir() else []
        with_atheris(name, Path(out), float(seconds), int(number), more)
    from fuzzing.turn import MEMORY, with_hypothesis

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    with_hypothesis(name, Path(out), float(seconds), int(number))


if __name__ == "__main__":
    main(*sys.argv[1:])
