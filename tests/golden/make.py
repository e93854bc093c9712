"""Make the golden run folders: a tiny fit by the last commit of every schema of run folders.

`python tests/golden/make.py 6` makes that of schema 6; without numbers it makes all that are not there yet. It needs
the history of the repository, and runs each commit in a worktree of its own with the packages that are installed here.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# the commit before each that raised the schema; HEAD for the present one
COMMITS = {1: "d32d446^", 2: "f167936^", 3: "c18b886^", 4: "d7c131c^", 5: "df09ec9^", 6: "HEAD"}
USERS, ITEMS, ROWS = 12, 8, 120
STUDY = """\
[data]
path = "rows.csv"
user = "user"
item = "item"
label = "label"
[model]
affinity = { name = "embedding", dim = 2 }
[training]
epochs = 2
batch_size = 64
device = "cpu"
"""


def write_rows(path: Path) -> None:
    """Write rows that need no random numbers."""
    lines = [
        f"u{n * 7 % USERS},i{n * n % 11 % ITEMS},{int((n * 5 + n // 3) % 7 < 2 + n * n % 11 % ITEMS // 3)}"
        for n in range(ROWS)
    ]
    path.write_text("\n".join(["user,item,label", *lines, ""]), encoding="utf-8")


def make(schema: int, commit: str, scratch: Path) -> None:
    """Fit the study with the package of a commit, and keep its run folder without logs and all but one checkpoint."""
    tree, package, work = scratch / "tree", scratch / "path" / "pyro_popbias", scratch / "work"
    subprocess.run(["git", "worktree", "add", "--detach", str(tree), commit], cwd=ROOT, check=True)
    try:
        package.mkdir(parents=True)
        work.mkdir()
        parts = [*(tree / "pyro_popbias").iterdir(), *(tree / name for name in ("models", "guides"))]
        for part in parts:  # models/ and guides/ are subpackages, but lie beside the package in the repository
            if part.exists() and not (package / part.name).exists():
                (package / part.name).symlink_to(part)
        write_rows(work / "rows.csv")
        (work / "study.toml").write_text(STUDY, encoding="utf-8")
        command = [sys.executable, "-m", "pyro_popbias", "fit", "study.toml", "--out", "run", "--data", "rows.csv"]
        environment = os.environ | {"PYTHONPATH": str(package.parent), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=work, env=environment, check=True)
        for name in (".lock", "run.log"):
            (work / "run" / name).unlink(missing_ok=True)
        for old in sorted((work / "run" / "checkpoints").iterdir())[:-2]:
            old.unlink()
        shutil.copytree(work / "run", HERE / f"schema-{schema}")
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def main() -> None:
    """Make the folders that are named, or those that are missing."""
    for schema in map(int, sys.argv[1:] or COMMITS):
        if not (HERE / f"schema-{schema}").exists():
            with tempfile.TemporaryDirectory() as scratch:
                make(schema, COMMITS[schema], Path(scratch))


if __name__ == "__main__":
    main()
