"""Figure 8: the same seed gives the same fit, bit by bit, in fresh processes and with any one number of threads.

A world has more than 32,768 rows a step, below which torch would not share an operation among threads. Ten fits follow
each other in a process, as what one leaves behind must not reach the next; a figure of 100 fits is ten processes. A hash is
that of all parameters, of the model and of q.
"""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from scoreboard.section import Measured, Section, resumed

THREADS = (1, 2, 4)
PROCESSES, FITS = 10, 10
ROWS = 34_000


def hashes_of_fits(number: int) -> list[str]:
    """Return the hash of the parameters of each of some fits of the same study, one after the other, in this process."""
    import pyro_popbias as pb

    world = pb.simulate(users=500, items=300, interactions=ROWS, seed=0)
    training = {"epochs": 2, "batch_size": ROWS, "phase_two": 0, "validation": 0.0, "device": "cpu"}
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 4}}, training=training)
    found = []
    for _ in range(number):
        fit, digest = pb.fit(world.events, study=study, progress=False), hashlib.sha256()
        for part in (fit.model, fit.guide):
            for name, value in sorted(part.state_dict().items()):
                digest.update(name.encode() + value.contiguous().numpy().tobytes())
        found.append(digest.hexdigest())
    return found


def _in_a_process(threads: int, fits: int) -> list[str]:
    # threads that wait must not take the core of the one that they wait for: there may be fewer cores than threads
    variables = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(  # noqa: S603 - a command of our own
        [sys.executable, "-W", "ignore", "-m", "scoreboard.determinism", str(threads), str(fits)],
        cwd=Path(__file__).parents[1],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def determinism(folder: Path, quick: bool) -> Measured:
    """Compare the hashes of fits in fresh processes, for each number of threads."""
    threads, processes, fits = ((2,), 2, 2) if quick else (THREADS, PROCESSES, FITS)
    names = [f"{number}-threads-process-{process}" for number in threads for process in range(processes)]
    found = resumed(folder, names, lambda name: _in_a_process(int(name.partition("-")[0]), fits))
    details, words = [], []
    for number in threads:
        seen = Counter(each for name in names if name.startswith(f"{number}-") for each in found[name])
        most = seen.most_common(1)[0][1]
        words.append(f"{most} of {seen.total()} with {number}")
        details += [f"{number} threads: {count} fits have {digest[:12]}" for digest, count in seen.items()]
    alike = all(len({each for name in names if name.startswith(f"{n}-") for each in found[name]}) == 1 for n in threads)
    return Measured(
        f"{', '.join(words)} thread(s) alike, {fits} fits a process", alike, () if alike else tuple(details)
    )


SECTIONS = [Section(8, "same seed, same hash", "100 of 100 with each of 1, 2 and 4 threads", determinism, 8)]

if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(sys.argv[1]))
    print("\n".join(hashes_of_fits(int(sys.argv[2]))))
