"""Published weights become a value model in the store, which trainings start from."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recap_core.config.import_value import (
    ImportValueConfig,
    Part,
    ValueLayout,
    WeightSourceConfig,
)
from recap_core.config.value import ValueConfig
from recap_core.errors import CheckpointError, IncompatibleError
from recap_core.lineage.artifacts import ValueCheckpoint
from recap_core.lineage.digests import files_digest
from recap_core.lineage.files import File
from recap_core.lineage.outside import files_behind_links
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.registry import IMPORT_VALUE

if TYPE_CHECKING:
    from recap_core.checkpoints.match_report import MatchReport
    from recap_core.checkpoints.value_match import Match
    from recap_core.checkpoints.value_places import Place

MATCH_FILE = "match.json"
_TOKENIZER = "tokenizer.model"


class ValueSource(NamedTuple):
    """Weights outside the store, as they were found and compared with a model."""

    places: "tuple[Place, ...]"
    config: ImportValueConfig
    report: "MatchReport"


def describe_value(  # noqa: PLR0913 - options are keyword-only
    paths: Sequence[Path],
    value: ValueConfig,
    *,
    take: Part = "all",
    layout: ValueLayout | None = None,
    ema: bool = False,
    min_match: float = 1.0,
    seed: int = 0,
    store: Store,
) -> ValueSource:
    """Look at weights outside the store, and say what they fill of a value model.

    Names and shapes are compared; no array is read, and nothing is written.

    Args:
        paths: Bundles, steps, directories and files, which together fill the model; see
            ``checkpoints/value_places.py``. No two may hold the same part.
        value: What they become: architecture, robot and text. A ``tokenizer.model`` beside the
            weights becomes (or must be) that of a ``gemma3`` prompt.
        take: Of the reference's value models: every part, or SigLIP and Gemma alone.
        layout: Whose files a single path holds; None: as they look.
        ema: Of the reference's value models: the averaged parameters.
        min_match: Share of the leaves that must be found, of the parts that a source holds.
        seed: Of the leaves that no source holds.
        store: Whose digest cache is used.

    Raises:
        CheckpointError: If files are missing, damaged, or do not fit; says what to do.
        IncompatibleError: If ``config.json`` says other sizes, or the tokenizer is another one.
        ConfigError: If two sources hold the same part.
    """
    from recap_core.checkpoints.value_match import match_sources
    from recap_core.checkpoints.value_places import check_one_path, find_places

    check_one_path(list(paths), layout)
    places = [place for path in paths for place in find_places(path, take=take, layout=layout)]
    match = match_sources(places, value.model, ema=ema, min_match=min_match)
    config = ImportValueConfig(
        value=_with_tokenizer(value, [*paths, *(place.path for place in places)]),
        sources=tuple(
            WeightSourceConfig(
                layout=source.place.layout,
                digest=_digest(source.place, store),
                take=source.parts,
                ema=ema and source.place.layout == "value_model",
            )
            for source in match.sources
        ),
        min_match=min_match,
        seed=seed,
    )
    return ValueSource(tuple(places), config, match.report)


def import_value(
    source: ValueSource, *, name: str, store: Store, progress: Progress | None = None
) -> ValueCheckpoint:
    """Publish weights from outside the store as a value model.

    Every array keeps its dtype; leaves that no source holds are drawn from the seed and listed in
    the artifact. It is not healthy, for nothing judged it, and it has no norm stats.

    Args:
        source: From :func:`describe_value`.
        name: Name of a new artifact.
        store: Where it is published.
        progress: Who watches.

    Raises:
        CheckpointError: If a file is damaged, a number is not finite, or the files change
            meanwhile.
    """
    config = source.config

    def build(area: Build) -> Built:
        from recap_core.checkpoints.value_checkpoint import ValueSettings, write_value_model
        from recap_core.checkpoints.value_weights import read_value_weights
        from recap_core.models.parameters import count_params

        match = _match_again(source)
        params = read_value_weights(match, config.value.model, seed=config.seed, progress=progress)
        settings = ValueSettings(config.value, config.targets, None)
        write_value_model(area.output, params, None, settings)
        (area.output / MATCH_FILE).write_text(match.report.model_dump_json(indent=2) + "\n")
        _check_unchanged(source, store)
        steps = [place.step for place in source.places if place.step is not None]
        details = {
            "num_steps": 0,
            "num_params": count_params(params),
            "healthy": False,
            "source": ", ".join(str(place.path) for place in source.places),
            "source_layouts": tuple(place.layout for place in source.places),
            "source_digest": _joined([found.digest for found in config.sources]),
            "source_step": steps[0] if steps else None,
            "fresh_leaves": match.fresh,
        }
        return Built(details)

    return store.produce(IMPORT_VALUE, config, {}, name=name, build=build)


def read_match(directory: Path) -> "MatchReport":
    """The match report of an imported value model.

    Raises:
        CheckpointError: If there is none.
    """
    from recap_core.checkpoints.match_report import MatchReport
    from recap_core.checkpoints.policy_checkpoint import read_text

    return MatchReport.model_validate_json(read_text(directory / MATCH_FILE))


def _match_again(source: ValueSource) -> "Match":
    from recap_core.checkpoints.value_match import match_sources

    config = source.config
    return match_sources(
        source.places,
        config.value.model,
        ema=any(found.ema for found in config.sources),
        min_match=config.min_match,
    )


def _with_tokenizer(value: ValueConfig, places: Sequence[Path]) -> ValueConfig:
    """The same with the digest of the tokenizer beside the weights, if it is Gemma's prompt."""
    from recap_core.models.tokenizer import tokenizer_digest

    if value.prompt.tokenizer != "gemma3":
        return value
    directories = [path if path.is_dir() else path.parent for path in places]
    found = [path / _TOKENIZER for path in directories if (path / _TOKENIZER).is_file()]
    if not found:
        return value
    digest = tokenizer_digest(found[0])
    if value.prompt.tokenizer_digest not in (None, digest):
        raise IncompatibleError(
            f"{found[0]} has digest {digest}, prompt.tokenizer_digest is "
            f"{value.prompt.tokenizer_digest}. Use the tokenizer of these weights, or leave the "
            "digest out of the configuration."
        )
    prompt = value.prompt.model_copy(update={"tokenizer_digest": digest})
    return value.model_copy(update={"prompt": prompt})


def _source_files(place: "Place") -> list[File]:
    """The files that hold the weights, links followed; steps inside a checkpoint are others."""
    from recap_core.checkpoints.value_places import STEP
    from recap_core.checkpoints.weight_files import safetensors_files

    if place.layout in ("value_model", "deepmind_gemma"):
        path = place.path
        files = files_behind_links(path.parent, [path.name])
        named = [file._replace(relative=file.relative.partition("/")[2]) for file in files]
        return [file for file in named if not file.relative.startswith(STEP)]
    files = [place.path] if place.path.is_file() else safetensors_files(place.path)
    return [File(file.name, file.resolve(), file.stat()) for file in files]


def _digest(place: "Place", store: Store) -> str:
    try:
        return files_digest(_source_files(place), store.digests)
    except OSError as error:
        raise CheckpointError(f"{place.path} cannot be read ({error}). Copy it again.") from error


def _joined(digests: Sequence[str]) -> str:
    if len(digests) == 1:
        return digests[0]
    return hashlib.blake2b("\n".join(digests).encode(), digest_size=16).hexdigest()


def _check_unchanged(source: ValueSource, store: Store) -> None:
    """Raise CheckpointError unless the sources still are what the artifact's key says."""
    for place, found in zip(source.places, source.config.sources, strict=True):
        if _digest(place, store) != found.digest:
            raise CheckpointError(
                f"{place.path} changed while it was imported. Import it again when nothing writes "
                "to it."
            )
