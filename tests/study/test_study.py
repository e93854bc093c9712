import tomllib

import numpy as np
import pytest
from pydantic import ValidationError

from pyro_popbias import GUIDES, MODELS, Study
from pyro_popbias.errors import ConfigError, RunFolderError, UnknownNameError
from pyro_popbias.guides import GammaGuide, RowGuide
from pyro_popbias.models import LogNormalPrior, Product

RATES = ("learning_rate", "guide_learning_rate")
BAD_NUMBERS = [0, 0.0, -1.0, float("nan"), float("inf"), 1e-300, "0.1", None, True]
BAD_COUNTS = [0, -1, 10**12, 2.5, True, "3", None]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"guide": {"name": "lognorml"}},
            r"PB-C076: unknown guide 'lognorml'; did you mean 'lognormal'\? Guides: .*gamma",
        ),
        (
            {"model": {"name": "prodct"}},
            r"PB-C076: unknown model 'prodct'; did you mean 'product'\? Models: additive",
        ),
        ({"model": {"affinity": {"name": "embeding"}}}, r"PB-C076: .*'embeding'; did you mean 'embedding'\?"),
    ],
)
def test_unknown_names(sections, message):
    with pytest.raises(UnknownNameError, match=message) as caught:
        Study(**sections)
    assert caught.value.exit_code == 2
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"training": {"learing_rate": 0.1}},
            r"PB-C077: unknown key 'learing_rate'; did you mean 'learning_rate'\?.*training",
        ),
        ({"trainig": {}}, r"PB-C077: unknown key 'trainig'; did you mean 'training'\? Keys: schema, data"),
        ({"model": {"affinity": {"name": "embedding", "dims": 3}}}, r"PB-C077: .*'dims'; did you mean 'dim'\?"),
        ({"model": {"affinity": {"dim": 3}}}, r"PB-C077: \[model\] affinity has no name; write affinity = \{ name"),
    ],
)
def test_unknown_keys(sections, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Study(**sections)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("key", RATES)
@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_wrong_rates(key, value):
    with pytest.raises(ConfigError, match=rf"PB-C083: \[training\] {key} = .*: .*(it should|must|valid)"):
        Study(training={key: value})


@pytest.mark.parametrize("value", BAD_NUMBERS)
def test_wrong_scales_and_shapes(value):
    with pytest.raises(ConfigError, match=r"PB-C083: \[model\] affinity\.scale = "):
        Study(model={"affinity": {"name": "embedding", "scale": value}})
    with pytest.raises(ConfigError, match=r"PB-C083: \[model\] prior.*concentration"):
        Study(model={"prior": {"source": "fixed", "concentration": value}})


@pytest.mark.parametrize("key", ["epochs", "batch_size", "particles"])
@pytest.mark.parametrize("value", BAD_COUNTS)
def test_wrong_counts(key, value):
    with pytest.raises(ConfigError, match=rf"PB-C083: \[training\] {key} = "):
        Study(training={key: value})


@pytest.mark.parametrize("seed", [-1, 2**63, 0.5, "1"])
def test_wrong_seeds(seed):
    with pytest.raises(ConfigError, match=r"PB-C083: \[training\] seed = "):
        Study(training={"seed": seed})


def test_no_seed_draws_one_and_records_it():
    seeds = {Study(training={"seed": None}).training.seed for _ in range(5)}
    assert len(seeds) > 1
    assert all(isinstance(seed, int) for seed in seeds)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"training": {"device": "tpu"}},
            r"PB-C083: \[training\] device = 'tpu': it should be 'auto', 'cpu' or 'cuda'",
        ),
        ({"training": {"validation": 1.0}}, r"PB-C083: \[training\] validation = 1\.0"),
        ({"data": {"positive_if": "high"}}, r"PB-C004: positive_if='high'"),
        ({"data": {"periods": 3}}, r"PB-C083: \[data\].*periods above 1 need time"),
        ({"model": {"prior": {"source": "fixed"}}}, r"PB-C083: \[model\] prior.*'fixed' needs it"),
        (
            {"model": {"affinity": {"name": "fixed"}}},
            r"PB-C083: \[model\] affinity.*user_vectors and item_vectors, or score",
        ),
        ({"schema": 2}, "PB-C096: study schema 2 is not read here; this version reads 1"),
    ],
)
def test_other_faults(sections, message):
    with pytest.raises(ConfigError, match=message):
        Study(**sections)


def test_a_study_does_not_change():
    with pytest.raises(Exception, match="frozen"):
        Study().training.epochs = 3


def test_not_a_mapping():
    with pytest.raises(ConfigError, match="PB-C009: a study is a mapping of sections, not list"):
        Study.model_validate([1])


@pytest.mark.parametrize("guide", GUIDES)
@pytest.mark.parametrize("model", MODELS)
def test_toml_round_trip(tmp_path, model, guide):
    study = Study(
        model={
            "name": model,
            "saturation": {"name": "exponential", "rate": "learned"},
            "prior": {"source": "fixed", "concentration": 0.7},
        },
        guide={"name": guide},
        data={"label": "rating", "positive_if": ">=4", "time": "when", "periods": 3},
        training={"epochs": 7, "seed": 2**63 - 1, "learning_rate": 1e-8},
    )
    path = tmp_path / "study.toml"
    path.write_text(study.to_toml())
    assert Study.from_toml(path) == study
    assert tomllib.loads(study.to_toml())["schema"] == 1


def test_overrides_and_paths(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text('schema = 1\n[data]\npath = "log.csv"\n[training]\nepochs = 3\n')
    study = Study.from_toml(path, ["training.epochs=5", "guide.name=lognormal", "data.label='clicked'"])
    assert (study.training.epochs, study.guide.name, study.data.label) == (5, "lognormal", "clicked")
    assert study.data.path == str(tmp_path / "log.csv")


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("training.epochs", ConfigError, r"PB-C010: cannot read 'training.epochs'; write section.key=value"),
        ("=5", ConfigError, "PB-C010: cannot read '=5'"),
        ("training.epochs.deep=5", ConfigError, "PB-C010: .*inside 'epochs', which is a value"),
        ("training.epocs=5", ConfigError, r"PB-C077: .*did you mean 'epochs'\?.*study\.toml"),
        ("training.epochs=nan", ConfigError, r"PB-C083: .*epochs = nan.*study\.toml"),
        ("guide.name=gama", UnknownNameError, r"PB-C076: .*'gama'.*study\.toml"),
    ],
)
def test_wrong_overrides(tmp_path, override, error, message):
    path = tmp_path / "study.toml"
    path.write_text("[training]\nepochs = 3\n")
    with pytest.raises(error, match=message):
        Study.from_toml(path, [override])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[training]\nepochs = 3\nepochs = 4\n", r"PB-C089: .*study\.toml is not valid TOML: .*line 3"),
        (b"[training\n", r"PB-C089: .*line 1"),
        (b"\xff\xfe", "PB-C089: .*is not valid TOML"),
        (b"[training]\nlearning_rate = inf\n", r"PB-C083: \[training\] learning_rate = inf"),
        (b"[training]\nlearning_rate = nan\n", r"PB-C083: \[training\] learning_rate = nan"),
        (b"training = 3\n", "PB-C083: .*training"),
    ],
)
def test_wrong_files(tmp_path, content, message):
    path = tmp_path / "study.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        Study.from_toml(path)
    assert caught.value.exit_code == 2


def test_missing_file(tmp_path):
    with pytest.raises(RunFolderError, match=r"PB-R022: cannot read .*No such file"):
        Study.from_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("training", {"learning_rate": -1}, r"PB-C083: \[training\] learning_rate = -1"),
        ("training", {"learing_rate": 0.1}, r"PB-C077: unknown key 'learing_rate'; did you mean 'learning_rate'\?"),
        ("trainig", {"epochs": 3}, r"PB-C077: unknown key 'trainig'; did you mean 'training'\?"),
        ("model", {"affinity": {"name": "embedding", "dim": -1}}, r"PB-C083: \[model\] affinity\.dim = -1"),
        ("model", {"prior": {"name": "gama"}}, r"PB-C076: unknown prior 'gama'; did you mean 'gamma'\?"),
        ("guide", {"name": "gama"}, r"PB-C076: unknown guide 'gama'; did you mean 'gamma'\?"),
    ],
)
def test_what_is_replaced_is_checked_like_a_study(section, values, message):
    with pytest.raises(ConfigError, match=message):
        Study().replace(section, **values)


def test_replacing_keeps_what_was_given():
    study = Study(training={"batch_size": 7}, model={"affinity": {"name": "embedding", "dim": 2}})
    study = study.replace("training", epochs=3).replace("model", name="pda")
    assert study.training.model_fields_set == {"batch_size", "epochs"}
    assert (study.training.batch_size, study.training.epochs, study.model.affinity.dim) == (7, 3, 2)
    assert "saturation" not in study.model.model_fields_set


def test_an_assignment_varies_a_part_that_the_file_leaves_out(tmp_path):
    """As a space of `popbias tune` does, whose study need not say what the default is."""
    (tmp_path / "study.toml").write_text("schema = 1\n")
    study = Study.from_toml(tmp_path / "study.toml", ["model.affinity.dim=4"])
    assert (study.model.affinity.name, study.model.affinity.dim) == ("embedding", 4)
    overrides = ["model.affinity.dim=4", "model.affinity.name=factorization-machine"]
    other = Study.from_toml(tmp_path / "study.toml", overrides)
    assert (other.model.affinity.name, other.model.affinity.dim) == ("factorization-machine", 4)
    again = Study.from_toml(tmp_path / "study.toml", ["model.affinity.user_bias=false"])
    assert again.model.affinity.dim == Study().model.affinity.dim  # the start is copied


def test_copies_of_sections_are_checked():
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        Study().training.model_copy(update={"epochs": 0})
    with pytest.raises(ConfigError, match=r"PB-C077: unknown key 'trainig'"):
        Study().model_copy(update={"trainig": {}})


def test_scalars_of_numpy_are_those_of_python():
    study = Study(
        training={"seed": np.int64(3), "epochs": np.int32(5), "learning_rate": np.float32(0.5)},
        model={"saturation": {"name": "hill", "half": np.float64(0.5)}},
        data={"negatives": np.int64(2)},
    )
    assert (study.training.seed, study.training.epochs, study.training.learning_rate) == (3, 5, 0.5)
    assert (study.model.saturation.half, study.data.negatives) == (0.5, 2)
    assert tomllib.loads(study.to_toml())["training"]["seed"] == 3


@pytest.mark.parametrize("value", [np.bool_(True), np.float64(2.0), np.int64(0)])
def test_other_scalars_of_numpy_are_refused(value):
    with pytest.raises(ConfigError, match=r"PB-C083: \[training\] epochs = "):
        Study(training={"epochs": value})


def test_a_registered_class_stands_for_its_name():
    study = Study(model={"name": Product, "prior": {"name": LogNormalPrior}}, guide={"name": GammaGuide})
    assert (study.model.name, study.model.prior.name, study.guide.name) == ("product", "lognormal", "gamma")
    message = (
        r"PB-C300: guide class RowGuide is not registered; register it by the decorator @GUIDES\.register\(name\), or"
    )
    with pytest.raises(ConfigError, match=message):
        Study(guide={"name": RowGuide})


def test_keys_of_a_part_are_those_of_its_name():
    with pytest.raises(ConfigError, match=r"PB-C077: unknown key 'rate'; did you mean .*\? Keys: name, half"):
        Study(model={"saturation": {"name": "hill", "rate": 1.0}})
    section = Study(model={"saturation": {"name": "hill", "half": 3.0}}).model.saturation
    assert Study(model={"saturation": section}).model.saturation == section
