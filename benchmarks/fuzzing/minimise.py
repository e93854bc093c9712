"""Make the findings of a run small, and add them to the corpus of the tests: `python -m fuzzing.minimise OUT [CORPUS]`."""

import sys
from pathlib import Path

from fuzzing.folders import remove_folder
from fuzzing.targets import TARGETS
from fuzzing.turn import fault_of

CORPUS = Path(__file__).parents[2] / "tests" / "corpus"
MOST_TRIES = 2_000


def smaller(name: str, content: bytes) -> bytes:
    """Return as little of a finding as still ends at the same place, by removing ever smaller parts."""
    read = TARGETS[name].read
    fault = fault_of(read, content)
    size, tries = len(content) // 2, 0
    while fault and size and tries < MOST_TRIES:
        start = 0
        while start < len(content) and tries < MOST_TRIES:
            less, tries = content[:start] + content[start + size :], tries + 1
            found = fault_of(read, less)
            if found and found[0] == fault[0]:
                content = less
            else:
                start += size
        size //= 2
    return content


def main(out: str, corpus: str = str(CORPUS)) -> None:
    """Add the findings of a run to the corpus."""
    for path in sorted(Path(out, "findings").glob("*/*")):
        if path.suffix != ".txt" and path.parent.name in TARGETS:
            folder = Path(corpus, path.parent.name)
            folder.mkdir(parents=True, exist_ok=True)
            found = smaller(path.parent.name, path.read_bytes())
            (folder / path.name).write_bytes(found)
            print(f"{path.parent.name}/{path.name}: {path.stat().st_size} bytes, now {len(found)}")
    remove_folder()


if __name__ == "__main__":
    main(*sys.argv[1:])
