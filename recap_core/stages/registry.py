"""Every stage's identity: what it is called, which version its results are, what it makes.

Bump a stage's version when its code changes its results: its old artifacts are then no longer
found, and everything downstream is made anew. This module imports neither JAX nor lerobot, so
that a cached run stays light.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from recap_core.config.base import Config
from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import (
    Annotations,
    Artifact,
    Dataset,
    DatasetCopy,
    Evaluation,
    Iteration,
    Labels,
    NormStats,
    OfflineCheck,
    PolicyCheckpoint,
    Recording,
    RelabeledDataset,
    Report,
    ValueCheckpoint,
    Values,
)
from recap_core.lineage.keys import Inputs, Stage

COLLECT = Stage("collect", 2, Recording)
ANNOTATE = Stage("annotate", 1, Annotations)
INGEST = Stage("ingest", 1, Recording)
CONVERT = Stage("convert", 2, Dataset)
IMPORT_DATASET = Stage("import_dataset", 1, Dataset)
MERGE = Stage("merge", 2, Dataset)
NORM_STATS = Stage("norm_stats", 1, NormStats)
LOAD_NORM_STATS = Stage("load_norm_stats", 1, NormStats)
TRAIN_POLICY = Stage("train_policy", 2, PolicyCheckpoint)
ALIGN_VALUE = Stage("align_value", 1, ValueCheckpoint)
TRAIN_VALUE = Stage("train_value", 3, ValueCheckpoint)
INFER_VALUES = Stage("infer_values", 3, Values)
LABEL = Stage("label", 2, Labels)
COPY = Stage("copy", 1, DatasetCopy)
RELABEL = Stage("relabel", 3, RelabeledDataset)
EVALUATE = Stage("evaluate", 2, Evaluation)
SCORE_RECORDING = Stage("score_recording", 2, Evaluation)
RECORD_EVALUATION = Stage("record_evaluation", 1, Recording)
CHECK_POLICY = Stage("check_policy", 1, OfflineCheck)
REPORT = Stage("report", 4, Report)
RECORD_ITERATION = Stage("record_iteration", 1, Iteration)
IMPORT_LABELS = Stage("import_labels", 1, Labels)
IMPORT_POLICY = Stage("import_policy", 1, PolicyCheckpoint)
IMPORT_VALUE = Stage("import_value", 1, ValueCheckpoint)

STAGES: dict[str, Stage] = {
    stage.id: stage
    for stage in (
        COLLECT, INGEST, ANNOTATE, CONVERT, IMPORT_DATASET, MERGE, NORM_STATS, LOAD_NORM_STATS,
        TRAIN_POLICY, IMPORT_VALUE, ALIGN_VALUE, TRAIN_VALUE, INFER_VALUES, LABEL, IMPORT_LABELS,
        COPY, RELABEL, EVALUATE, SCORE_RECORDING, RECORD_EVALUATION, CHECK_POLICY, REPORT,
        RECORD_ITERATION, IMPORT_POLICY,
    )
}  # fmt: skip


class NoSettings(Config):
    """The config of a stage that has nothing to decide."""


class StageCall(NamedTuple):
    """A stage with everything its key depends on."""

    stage: Stage
    config: Config
    inputs: Inputs


def stage_call(stage: Stage, arguments: Mapping[str, Any]) -> StageCall:
    """The call of a stage function, from its bound arguments.

    Artifacts (and sequences of them) are inputs under their argument's name, those of a mapping
    under their own; ``config`` is the config; everything else (``name``, ``runtime``, ...) changes
    no result.

    Raises:
        ConfigError: If an argument that should be an artifact is something else.
    """
    inputs: dict[str, Artifact | Sequence[Artifact] | None] = {}
    config = arguments.get("config") or NoSettings()
    for role, value in _by_role(arguments):
        if isinstance(value, Artifact):
            inputs[role] = value
        elif isinstance(value, list | tuple) and value:
            if not all(isinstance(item, Artifact) for item in value):
                raise ConfigError(f"{role} of stage {stage.id} must hold artifacts only")
            inputs[role] = tuple(value)
    if not isinstance(config, Config):
        raise ConfigError(f"config of stage {stage.id} is {type(config).__name__}, not a Config")
    return StageCall(stage, config, inputs)


def _by_role(arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for role, value in arguments.items():
        if isinstance(value, Mapping):
            yield from value.items()
        else:
            yield role, value
