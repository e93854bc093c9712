"""Build sdist and wheel from the files of a folder, so that anyone who builds the same files gets the same bytes.

    python .ci/build_release.py SOURCE OUT

setuptools takes the time of a wheel's members from SOURCE_DATE_EPOCH, but their modes from the umask, and writes times, owners
and modes of files into an sdist. So the umask is set, and the sdist is packed again. SOURCE_DATE_EPOCH is the time of the last
commit where it is not given. The source is copied first: a build folder in a checkout may hold modules that are gone.
"""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", "build", "dist", "*.egg-info", "__pycache__", "demo-run", "_build"
)


def packed_again(sdist: Path, time: int) -> None:
    """Write an sdist anew, with members in order, of one time, without owners, and with plain modes."""
    with tarfile.open(sdist) as archive:
        members = sorted(archive.getmembers(), key=lambda member: member.name)
        contents = {member.name: archive.extractfile(member).read() for member in members if member.isfile()}
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member.name)
            info.type, info.mtime, info.mode = member.type, time, 0o755 if member.isdir() else 0o644
            content = contents.get(member.name, b"")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with sdist.open("wb") as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=time) as zipped:
        zipped.write(plain.getvalue())


def build(source: Path, out: Path) -> list[Path]:
    """Build sdist and wheel of a folder's files, and return them."""
    epoch = (
        os.environ.get("SOURCE_DATE_EPOCH")
        or subprocess.run(
            ["git", "log", "-1", "--format=%ct"],  # noqa: S607
            cwd=source,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    os.umask(0o022)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        copy, built = Path(folder, "source"), Path(folder, "built")
        shutil.copytree(source, copy, ignore=LEFT_OUT, copy_function=shutil.copyfile)
        subprocess.run(  # noqa: S603
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", built, copy],
            env=os.environ | {"SOURCE_DATE_EPOCH": epoch},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        (sdist,) = built.glob("*.tar.gz")
        packed_again(sdist, int(epoch))
        return [Path(shutil.copy(path, out)) for path in sorted(built.iterdir())]


if __name__ == "__main__":
    for path in build(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()):
        sys.stdout.write(f"{path}\n")
