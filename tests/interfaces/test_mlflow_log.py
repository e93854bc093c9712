"""Runs in MLflow's own store, in a folder."""

import pandas as pd
import pytest

import pyro_popbias as pb
from pyro_popbias.errors import ConfigError
from pyro_popbias.interfaces.mlflow_log import log_fit


@pytest.fixture(scope="module")
def fit():
    sim = pb.simulate(users=30, items=20, interactions=600, dim=2, seed=0)
    return pb.fit(sim.frame, study=pb.Study(training={"epochs": 2, "phase_two": 0, "device": "cpu"}), progress=False)


def test_without_mlflow_one_line_says_what_to_install(fit):
    try:
        import mlflow  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(ConfigError, match=r"PB-C550: log_fit needs mlflow; pip install 'pyro-popbias\[mlflow\]'"):
            log_fit(fit)


@pytest.mark.filterwarnings("ignore")  # of MLflow's own dependencies
def test_a_run_says_what_was_declared_and_opens_again(fit, tmp_path):
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow: pip install 'pyro-popbias[mlflow]'")
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")
    mlflow.create_experiment("popbias", artifact_location=f"file://{tmp_path}/artifacts")
    mlflow.set_experiment("popbias")
    judged = pd.DataFrame(
        {"metric": ["ndcg@20", "recall@20[decile 1]"], "value": [0.5, 0.25], "lower": 0.1, "upper": 0.9}
    )
    run = mlflow.get_run(log_fit(fit, judged))
    assert run.data.metrics["test.ndcg_at_20"] == 0.5
    assert run.info.status == "FINISHED"
    assert run.data.params["model.name"] == "product"
    assert run.data.params["training.epochs"] == "2"
    last = fit.history["validation_log_score"].dropna().iloc[-1]
    assert run.data.metrics["held_out_log_score"] == pytest.approx(last)
    steps = mlflow.MlflowClient().get_metric_history(run.info.run_id, "training.elbo")
    assert [each.value for each in steps] == pytest.approx(fit.history["elbo"].tolist())
    folder = tmp_path / "artifacts" / run.info.run_id / "artifacts"
    assert {path.name for path in folder.iterdir()} == {"study.toml", "report.html", "run"}
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pt", ".pth")]
    assert pb.load(folder / "run").popularity().equals(fit.popularity())
