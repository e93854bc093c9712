"""A study: a declared model, prior, guide and training, checked key by key, in Python or TOML."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import ConfigDict, Field, ValidationError

from pyro_popbias.errors import ConfigError, UnknownNameError, shown
from pyro_popbias.guides import GUIDES
from pyro_popbias.models import MODELS
from pyro_popbias.study.overview import as_code, overview_of
from pyro_popbias.study.sections import (
    DataConfig,
    FixedAffinityConfig,
    GuideConfig,
    ModelConfig,
    TrainingConfig,
)
from pyro_popbias.study.toml_files import DEEPEST, bytes_of, parse_toml, too_deep
from pyro_popbias.validation import Section

SCHEMA = 1
COUNTS = "counts.parquet"  # where a run folder keeps a frame of counts; files stay where they are
# what an assignment to a key of a part begins with, where the file leaves the part to its default
STARTS: Mapping[tuple[str, ...], Mapping[str, str]] = {
    ("model", "affinity"): {"name": ModelConfig.model_fields["affinity"].default.name}
}


class Study(Section):
    """Everything that decides a fit but the data.

    Attributes:
        schema_version: the key `schema` of the file, 1.
        data: `[data]`.
        model: `[model]`.
        guide: `[guide]`.
        training: `[training]`.

    Raises:
        ConfigError: a key is unknown or its value is outside its range; the message says which.
        UnknownNameError: no model, guide, affinity, saturation or prior has such a name.
    """

    model_config = ConfigDict(populate_by_name=True)

    schema_version: int = Field(default=SCHEMA, alias="schema", strict=True)
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    guide: GuideConfig = GuideConfig()
    training: TrainingConfig = TrainingConfig()

    def __init__(self, **sections: Any) -> None:
        try:
            super().__init__(**sections)
        except ValidationError as error:
            raise _as_config_error(error, sections) from None
        self.check_names()

    def __repr__(self) -> str:
        return as_code(self.changed())

    def _repr_html_(self) -> str:
        return overview_of(self.changed(), self.with_names_of_files().to_toml()).html()

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Return the study that a mapping declares, `schema` included."""
        if isinstance(obj, cls):
            return obj
        if not isinstance(obj, Mapping):
            raise ConfigError(f"PB-C009: a study is a mapping of sections, not {type(obj).__name__}")
        return cls(**{str(key): value for key, value in obj.items()})

    def check_names(self) -> None:
        """Refuse an unknown schema, model or guide."""
        if self.schema_version != SCHEMA:
            raise ConfigError(
                f"PB-C096: study schema {shown(self.schema_version)} is not read here; this version reads {SCHEMA}"
            )
        MODELS[self.model.name]
        GUIDES[self.guide.name]

    @classmethod
    def from_toml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Return the study of a file.

        Args:
            path: a TOML file; paths in it are relative to its folder.
            overrides: assignments such as "training.epochs=5", which replace what the file says.

        Raises:
            ConfigError: the file is no TOML (with the line), or a key or value is wrong.
            RunFolderError: there is no such file, or it is not a regular one.
        """
        path = Path(path)
        return cls.from_bytes(bytes_of(path), path, overrides).resolve(path.parent)

    @classmethod
    def from_bytes(cls, content: bytes, path: Path, overrides: Sequence[str] = ()) -> Self:
        """Return the study of a file's content, its paths as they stand; `path` is for messages.

        Raises:
            ConfigError: the content is no TOML (with the line), or a key or value is wrong.
        """
        sections = parse_toml(content, str(path))
        for assignment in overrides:
            _assign(sections, assignment)
        try:
            return cls.model_validate(sections)
        except UnknownNameError as error:
            raise UnknownNameError(f"{error} (in {path})") from None
        except ConfigError as error:
            raise ConfigError(f"{error} (in {path})") from None

    def resolve(self, folder: Path) -> Self:
        """Return the study with its relative paths taken from a folder."""

        def moved(value: Any) -> Any:
            return str(folder / value) if isinstance(value, str) else value

        files = ("path", "user_features", "item_features")
        study = self.replace("data", **{key: moved(getattr(self.data, key)) for key in files})
        affinity, prior = study.model.affinity, study.model.prior
        if prior.counts is not None:
            study = study.replace("model", prior=prior.model_copy(update={"counts": moved(prior.counts)}))
        if affinity.name != "fixed":
            return study
        vectors = {key: moved(getattr(affinity, key)) for key in ("user_vectors", "item_vectors")}
        return study.replace("model", affinity=affinity.model_copy(update=vectors))

    def replace(self, section: str, **values: Any) -> Self:
        """Return a copy with some keys of one section replaced, checked like a study file.

        Raises:
            ConfigError: there is no such section or key, or a value is outside its range.
            UnknownNameError: no model, guide, affinity, saturation or prior has such a name.
        """
        present = getattr(self, section, None)
        given = present.given() if isinstance(present, Section) else {}
        return self.model_copy(update={section: given | values})

    def with_seed(self, seed: int | None) -> Self:
        """Return a copy with another seed, checked; None draws one."""
        return self.replace("training", seed=seed)

    def with_names_of_files(self) -> Self:
        """Return a copy that names the files of a run folder where this study holds frames."""
        affinity, prior = self.model.affinity, self.model.prior
        if isinstance(affinity, FixedAffinityConfig) and affinity.score is None:
            files = {name: f"{name}.parquet" for name in ("user_vectors", "item_vectors")}
            affinity = affinity.model_copy(update=files)
        if prior.counts is not None and not isinstance(prior.counts, str):
            prior = prior.model_copy(update={"counts": COUNTS})
        return self.replace("model", affinity=affinity, prior=prior)

    def to_toml(self, *, whole: bool = True) -> str:
        """Return the study as a TOML text; frames in it must have been replaced by paths.

        A saturation is omitted if it was not given and the model does not take one: a file with it would be refused. A drift is
        omitted if it was not given: in a file it would not be estimated.

        Args:
            whole: every key; otherwise those that were given, so that a fit chooses the others by its data, as it would have.
        """
        taken = MODELS[self.model.name].default_saturation or "saturation" in self.model.model_fields_set
        of_model: dict[str, Any] = {} if taken else {"saturation": True}
        if "drift" not in self.model.prior.model_fields_set:
            of_model["prior"] = {"drift"}
        exclude: dict[str, Any] = {"model": of_model} if of_model else {}
        sections: dict[str, Any] = self.model_dump(
            by_alias=True, exclude_none=True, exclude_unset=not whole, exclude=exclude, serialize_as_any=True
        )
        return tomli_w.dumps(sections)


def _assign(sections: dict[str, Any], assignment: str) -> None:
    """Carry out one "section.key=value"; the value is read as TOML, or as text where it is none."""
    name, sign, text = assignment.partition("=")
    parts = name.strip().split(".")
    if not sign or not all(parts):
        raise ConfigError(
            f"PB-C010: cannot read {shown(assignment)}; write section.key=value, such as training.epochs=5"
        )
    if len(parts) > DEEPEST:
        raise too_deep(shown(assignment))
    value = _value(text, assignment)
    target = sections
    for number, part in enumerate(parts[:-1], start=1):
        target = target.setdefault(part, dict(STARTS.get(tuple(parts[:number]), {})))
        if not isinstance(target, dict):
            raise ConfigError(f"PB-C010: {shown(assignment)} sets a key inside {part!r}, which is a value")
    target[parts[-1]] = value


def _value(text: str, assignment: str) -> Any:
    """Return a value that is written in TOML; the text itself where it is none."""
    try:
        found = parse_toml(f"value = {text}", shown(assignment))
    except ConfigError as error:
        if not isinstance(error.__cause__, tomllib.TOMLDecodeError):
            raise  # beyond the limits
        return text
    return found["value"] if len(found) == 1 else text


def _as_config_error(error: ValidationError, sections: Mapping[str, Any]) -> ConfigError:
    """Return the first fault in words: the section, the key, the value and what it should be."""
    fault = error.errors()[0]
    place: list[str] = []
    node: Any = sections
    for part in fault["loc"]:  # pydantic adds the names of union members, which the user never wrote
        if isinstance(node, Mapping) and part in node:
            place.append(str(part))
            node = node[part]
    where = f"[{place[0]}] {'.'.join(place[1:])}".strip() if place else "the study"
    raised = fault.get("ctx", {}).get("error")
    if isinstance(raised, ConfigError):
        return raised  # says what is wrong by itself: an unknown name, a class that is not registered
    if fault["type"] == "no_name":
        return ConfigError(f'PB-C077: {where} has no name; write {place[-1]} = {{ name = "..." }}')
    if fault["type"] == "unknown_key":
        return ConfigError(f"PB-C077: {fault['msg']} ({where})")
    if fault["type"] == "missing":
        return ConfigError(f"PB-C083: {where} needs {fault['loc'][-1]}")
    message = fault["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    given = "" if isinstance(node, Mapping) else f" = {shown(node)}"
    return ConfigError(f"PB-C083: {where}{given}: {message}")
