import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import pyro_popbias as pb
from pyro_popbias.explore.access import Access, Guard
from pyro_popbias.explore.app import pages
from pyro_popbias.explore.explorer import Explorer
from pyro_popbias.explore.opened import Opened
from pyro_popbias.explore.opening import Opening

GOLDEN = Path(__file__).parents[1] / "golden" / "schema-6"


@pytest.fixture(scope="session")
def golden_fit():
    return pb.load(GOLDEN)


@pytest.fixture
def golden_run(tmp_path):
    return shutil.copytree(GOLDEN, tmp_path / "run")


@pytest.fixture(scope="session")
def visit():
    """Return a function: a fit to a browser of its pages that has the cookie, and what they are made of."""
    openings = []

    def of(fit, *, titles=None, test=None, prepared=True, inside=True):
        opened = Opened(fit, titles or {}, test)
        opening, access = Opening(lambda: Explorer(opened)), Access.to(8000)
        opening.start()
        openings.append(opening)
        assert opening.wait(60) is not None
        if prepared:
            opening.answered()
            opening.join()
        server = Guard(pages(opening, name="run", about=["a line"]), access)
        client = TestClient(server, base_url="http://127.0.0.1:8000")
        if inside:
            assert client.get(access.address).status_code == 200
        client.access, client.opened = access, opened
        return client

    yield of
    assert all(opening.end(60) for opening in openings)  # a thread of torch must not outlive the tests
