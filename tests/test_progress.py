"""Progress in a notebook: one bar a cell, which does not flood it and is gone at the end."""

import warnings

import pytest

from pyro_popbias import progress

IPYTHON = pytest.importorskip("IPython", reason="needs IPython, which notebooks bring")

SCRIPT = """
import pyro_popbias as pb
frame = pb.simulate(users=20, items=9, interactions=300, dim=2, seed=0).frame
study = pb.Study(training={"epochs": 4, "phase_two": 3}, model={"affinity": {"name": "embedding", "dim": 2}})
"""


class Kernel:
    """What tells a notebook's shell from a terminal's."""


@pytest.fixture
def notebook(monkeypatch):
    """Return what a notebook was sent: kind of message, content, id of the display."""
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

    sent = []

    class Publisher(DisplayPublisher):
        def publish(self, data, metadata=None, *, transient=None, update=False, **_):
            sent.append(("update" if update else "display", data, (transient or {}).get("display_id")))

    shell = InteractiveShell.instance(display_pub_class=Publisher, history_length=0)
    shell.kernel, shell.execution_count = Kernel(), 7
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_DRAWINGS", 0.0)
    progress._output_of.cache_clear()
    yield sent
    InteractiveShell.clear_instance()
    progress._output_of.cache_clear()


def trained(epochs, title=""):
    with progress.TrainingProgress(epochs, title=title) as bar:
        for epoch in range(1, epochs + 1):
            bar(1, {"phase": 1, "epoch": epoch, "elbo": -1234.5, "validation_log_score": -0.5})
        bar(2, {"phase": 2, "epoch": 1, "elbo": -1230.0, "validation_log_score": -0.5})


def test_all_the_work_of_a_cell_has_one_output(notebook):
    trained(3)
    trained(2, title="<b>guide</b>, ")
    assert list(progress.counted(2, "check")) == [0, 1]
    with progress.SideBySide(2, "fits") as side:
        side.line("a line")
        side.done()
    assert [kind for kind, _, _ in notebook].count("display") == 1
    assert len({identity for _, _, identity in notebook}) == 1
    pages = [data["text/html"] for _, data, _ in notebook]
    assert pages[-1] == ""  # nothing is left
    assert sum(' value="3" max="3"' in page for page in pages) == 1
    assert any("phase 1: 3 of 3, 0 s, elbo -1,234, held-out log-score -0.5000" in page for page in pages)
    assert any('aria-label="progress"></progress> <small>phase 2: 1 done, 0 s, elbo' in page for page in pages)
    assert any("&lt;b&gt;guide&lt;/b&gt;, phase 1: 1 of 2" in page for page in pages)
    assert not any("<b>" in page for page in pages)
    assert any("check: 2 of 2" in page for page in pages)
    assert any("fits: 1 of 2, 0 s, a line" in page for page in pages)


def test_another_cell_has_another_output(notebook):
    trained(1)
    IPYTHON.get_ipython().execution_count = 8
    trained(1)
    assert len({identity for _, _, identity in notebook}) == 2


def test_a_bar_is_not_drawn_more_often_than_eyes_can_see(notebook, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_DRAWINGS", 60.0)
    for _ in progress.counted(10_000, "rows"):
        pass
    assert len(notebook) == 3  # the output, the first drawing and its end


def test_nothing_is_shown_where_nobody_asks(notebook):
    with progress.TrainingProgress(3, show=False) as bar:
        bar(1, {"phase": 1, "epoch": 1, "elbo": -1.0, "validation_log_score": -0.5})
    assert not notebook


def test_without_a_notebook_nothing_is_printed(capfd):
    assert progress._cell() is None
    trained(3)
    assert list(progress.counted(2, "check")) == [0, 1]
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_real_notebook_shows_the_fit_and_no_flood():
    nbformat = pytest.importorskip("nbformat", reason="needs nbformat")
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
    pytest.importorskip("ipykernel", reason="needs ipykernel")
    cells = [
        f"import warnings; warnings.simplefilter('ignore'){SCRIPT}",
        "fit = pb.fit(frame, study=study, restarts=2)\nfit",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in [*cells, "fit.check()"]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the client's own libraries
        nbclient.NotebookClient(book, timeout=300).execute()
    assert book.cells[0].outputs == []
    for cell, title in zip(book.cells[1:], ("Fit: product", "Check: "), strict=True):
        bar, shown = cell.outputs
        assert bar.data == {"text/html": "", "text/plain": ""}
        assert shown.data["text/plain"].startswith(title)
        assert shown.data["text/html"].startswith('<div class="popbias-overview">')
        assert len(str(shown)) < 12_000
