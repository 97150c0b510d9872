"""Every task and its stage function agree on names, so that both compute the same key."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from prefect import Task

from recap_core.errors import ConfigError
from recap_core.stages.check_policy import check_policy as check_policy_stage
from recap_core.stages.collect import collect_recording
from recap_core.stages.convert import convert_recording
from recap_core.stages.copy_dataset import copy_dataset
from recap_core.stages.evaluate import evaluate_policy
from recap_core.stages.import_labels import import_labels as import_labels_stage
from recap_core.stages.infer_values import infer_values as infer_values_stage
from recap_core.stages.ingest import ingest_recording
from recap_core.stages.label import label_dataset
from recap_core.stages.merge import merge_datasets
from recap_core.stages.norm_stats import compute_norm_stats
from recap_core.stages.record_iteration import record_iteration as record_iteration_stage
from recap_core.stages.registry import STAGES
from recap_core.stages.relabel import relabel_dataset
from recap_core.stages.report import write_report
from recap_core.stages.train_policy import train_policy as train_policy_stage
from recap_core.stages.train_value import train_value_model
from tasks.collection import collect, ingest
from tasks.datasets import convert, copy, merge, norm_stats
from tasks.evaluation import evaluate
from tasks.iterations import record_iteration
from tasks.judging import check_policy
from tasks.labelling import import_labels, infer_values, label, relabel
from tasks.reporting import report
from tasks.stage_functions import stage_function
from tasks.stage_key import StageKey
from tasks.stage_task import StageTask
from tasks.training import train_policy, train_value

PAIRS: list[tuple[Task[..., Any], Callable[..., Any]]] = [
    (collect, collect_recording),
    (ingest, ingest_recording),
    (convert, convert_recording),
    (merge, merge_datasets),
    (norm_stats, compute_norm_stats),
    (train_policy, train_policy_stage),
    (train_value, train_value_model),
    (infer_values, infer_values_stage),
    (label, label_dataset),
    (import_labels, import_labels_stage),
    (copy, copy_dataset),
    (relabel, relabel_dataset),
    (evaluate, evaluate_policy),
    (check_policy, check_policy_stage),
    (report, write_report),
    (record_iteration, record_iteration_stage),
]


COMMAND_LINE_ONLY = {
    "align_value",
    "annotate",
    "import_dataset",
    "import_policy",
    "import_value",
    "load_norm_stats",
    "record_evaluation",
    "score_recording",
}
"""A person's word, or a file outside the store: no flow makes these by itself."""


def test_every_stage_of_a_flow_has_a_task() -> None:
    """And no task claims another one's key."""
    stages = [
        task.cache_policy.stage for task, _ in PAIRS if isinstance(task.cache_policy, StageKey)
    ]

    assert sorted(stages) == sorted(set(STAGES) - COMMAND_LINE_ONLY)


@pytest.mark.parametrize(("task", "stage"), PAIRS, ids=[task.name for task, _ in PAIRS])
def test_a_task_has_the_parameters_of_its_stage(
    task: Task[..., Any], stage: Callable[..., Any]
) -> None:
    """All but the store and the progress, which the task brings itself; and it calls that one."""
    wanted = set(inspect.signature(stage).parameters) - {"store", "progress"}

    assert set(inspect.signature(task.fn).parameters) == wanted
    assert (
        inspect.signature(task.fn).return_annotation == inspect.signature(stage).return_annotation
    )
    assert isinstance(task, StageTask)
    assert stage_function(task.stage) is stage


@pytest.mark.parametrize("task", [task for task, _ in PAIRS], ids=lambda task: task.name)
def test_a_task_retries_once_and_only_what_may_pass(task: Task[..., Any]) -> None:
    """Its run is named after its artifact, and its result is kept as readable JSON."""
    assert task.retries == 1
    assert task.retry_condition_fn is not None
    assert task.result_serializer == "json"
    assert task.task_run_name == f"{task.name}-{{name}}"
    assert task.tags in ({"cpu"}, {"gpu"})


def test_other_options_leave_a_task_that_of_its_stage() -> None:
    """It computes the same key, and plans note it."""
    changed = train_value.with_options(retries=3)

    assert isinstance(changed, StageTask)
    assert (changed.stage, changed.retries, train_value.retries) == ("train_value", 3, 1)


def test_a_stage_without_a_task_has_no_function_here() -> None:
    """The message lists those that have."""
    with pytest.raises(ConfigError, match=r"no task runs stage 'annotate'; there are collect, .*"):
        stage_function("annotate")
