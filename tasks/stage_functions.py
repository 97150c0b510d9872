"""Where the function of every stage is: a task and its child process call the same one.

Nothing is imported before it is called, and nothing here knows Prefect.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from recap_core.errors import ConfigError
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.store import Store
from recap_core.progress import Progress

STAGE_FUNCTIONS: Mapping[str, str] = {
    "collect": "collect:collect_recording",
    "ingest": "ingest:ingest_recording",
    "convert": "convert:convert_recording",
    "merge": "merge:merge_datasets",
    "norm_stats": "norm_stats:compute_norm_stats",
    "train_policy": "train_policy:train_policy",
    "train_value": "train_value:train_value_model",
    "infer_values": "infer_values:infer_values",
    "label": "label:label_dataset",
    "import_labels": "import_labels:import_labels",
    "copy": "copy_dataset:copy_dataset",
    "relabel": "relabel:relabel_dataset",
    "evaluate": "evaluate:evaluate_policy",
    "check_policy": "check_policy:check_policy",
    "report": "report:write_report",
    "record_iteration": "record_iteration:record_iteration",
}
"""``<module of recap_core.stages>:<function>`` by stage id."""


def stage_function(stage: str) -> Callable[..., Artifact]:
    """The function of a stage.

    Raises:
        ConfigError: If no task runs that stage.
    """
    try:
        module, _, name = STAGE_FUNCTIONS[stage].partition(":")
    except KeyError:
        known = ", ".join(STAGE_FUNCTIONS)
        raise ConfigError(f"no task runs stage {stage!r}; there are {known}") from None
    return getattr(import_module(f"recap_core.stages.{module}"), name)


def call_stage(
    stage: str, arguments: Mapping[str, Any], *, store: Store, progress: Progress
) -> Artifact:
    """Call a stage's function; ``progress`` watches if it lets anybody watch."""
    function = stage_function(stage)
    watched = {"progress": progress} if takes_progress(function) else {}
    return function(**arguments, store=store, **watched)


def takes_progress(function: Callable[..., Artifact]) -> bool:
    """Whether a stage function lets anybody watch."""
    return "progress" in signature(function).parameters
