"""Damaged files are read, or refused by the package's own errors: nothing else may come out."""

import gzip
import io
import warnings

import numpy as np
import pandas as pd
import pytest

from pyro_popbias import read_interactions
from pyro_popbias.errors import DataWarning, PopBiasError

FRAME = pd.DataFrame(
    {
        "user": [f"u{n % 7}" for n in range(30)],
        "item": [f'i "{n % 5}", é' for n in range(30)],
        "label": [n % 2 for n in range(30)],
        "time": np.linspace(0.0, 29.0, 30),
    }
)


def contents():
    csv = FRAME.to_csv(index=False).encode()
    buffer = io.BytesIO()
    FRAME.to_parquet(buffer, index=False)
    return {"log.csv": csv, "log.csv.gz": gzip.compress(csv, mtime=0), "log.parquet": buffer.getvalue()}


CONTENTS = contents()
TOKENS = [
    b'"',
    b",",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\x1f\x8b",
    b";",
    b"nan",
    b"inf",
    b"1e999",
    b"",
    b"PAR1",
]


def mutated(content, random):
    """Return the content with some bytes changed, removed, repeated or put in, more often near its beginning."""
    data = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place = int(len(data) * random.random() ** 2)
        kind = random.integers(5)
        if kind == 0 and data:
            data[min(place, len(data) - 1)] = random.integers(256)
        elif kind == 1:
            del data[place : place + random.integers(1, 20)]
        elif kind == 2:
            data[place:place] = TOKENS[random.integers(len(TOKENS))]
        elif kind == 3:
            data[place:place] = data[place : place + random.integers(1, 40)]
        else:
            del data[random.integers(len(data) + 1) :]
    return bytes(data)


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("part", range(4))
def test_nothing_but_the_packages_own_errors(tmp_path, name, part):
    random = np.random.default_rng([part, len(name)])
    path = tmp_path / name
    messages = []
    for _ in range(50):
        path.write_bytes(mutated(CONTENTS[name], random))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            try:
                read_interactions(path, label="label", time="time", periods=3)
            except PopBiasError as error:
                messages.append(str(error))
    assert len(messages) > 25
    assert all(message.startswith("PB-D") for message in messages)
