"""What a release consists of: built twice, in other folders, at other times, under other umasks, it is the same bytes."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyro_popbias as pb

ROOT = Path(__file__).parents[1]
SKIPPED = shutil.ignore_patterns(".[!c]*", "build", "dist", "*.egg-info", "__pycache__", "docs", "tests", "benchmarks")


@pytest.mark.slow
def test_builds_are_reproducible(tmp_path):
    found = []
    for name, umask, seconds in (("one", 0o022, 1_600_000_000), ("far/away/two", 0o077, 1_700_000_000)):
        source = tmp_path / name
        shutil.copytree(ROOT, source, ignore=SKIPPED)
        for path in source.rglob("*"):
            os.utime(path, (seconds, seconds))
            path.chmod(0o700 if path.is_dir() else 0o666 & ~umask)
        command = [sys.executable, str(source / ".ci" / "build_release.py"), str(source), str(tmp_path / name / "out")]
        done = subprocess.run(
            command,
            env=os.environ | {"SOURCE_DATE_EPOCH": "1750000000"},
            capture_output=True,
            text=True,
            check=False,
            umask=umask,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        files = sorted((tmp_path / name / "out").iterdir())
        assert [path.suffix for path in files] == [".whl", ".gz"]
        found.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert found[0] == found[1]


def test_all_that_names_a_version_names_this_one():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {pb.__version__}\n" in citation
    released = citation.split('date-released: "')[1].partition('"')[0]
    assert f"\n## [{pb.__version__}] - {released}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
