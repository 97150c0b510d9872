"""Plans: what flows would do, from their own code, without doing it."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows.plans import plan_round
from recap_core.config.flows import ProjectConfig
from recap_core.errors import ArtifactNotFoundError, ConfigError
from recap_core.lineage.store import Store
from tasks.placeholders import is_planned
from tasks.planning import Plan, is_planning, planning
from tasks.refresh import refreshing
from tasks.store import open_store

BOOTSTRAP = ["collect", "convert", "norm_stats", "train_policy", "evaluate"]
ROUND = [
    "collect", "convert", "merge",
    "train_value", "infer_values", "label", "copy", "relabel", "train_policy",
    "evaluate", "train_policy", "evaluate",
    "report", "record_iteration",
]  # fmt: skip


def planned(project: ProjectConfig) -> Plan:
    """The plan of a bootstrap and a first round."""
    return plan_round(project, 1).plan


def test_an_empty_store_needs_every_stage_in_order(
    recap_home: Path, small_project: ProjectConfig
) -> None:
    """Those of a bootstrap, then of a round; what a stage waits for has no key yet."""
    plan = planned(small_project)

    assert [stage.stage for stage in plan.stages] == BOOTSTRAP + ROUND
    assert not any(stage.is_cached for stage in plan.stages)
    assert [stage.stage for stage in plan.stages if stage.key is not None] == ["collect"]
    assert plan.stages[-1].name == "round-1"
    assert not recap_home.exists(), "a plan wrote something"


def test_refs_that_a_plan_sets_are_seen_by_it_alone(
    recap_home: Path, small_project: ProjectConfig
) -> None:
    """The round found the bootstrap's refs; the store has none."""
    plan = planned(small_project)

    start = plan.store.get_ref("plumbing/sim-aloha/start")
    assert start is not None
    assert is_planned(start)
    assert plan.store.refs()["plumbing/sim-aloha/start"] == start.id
    with pytest.raises(ArtifactNotFoundError, match="only planned"):
        plan.store.path(start)
    assert Store(recap_home).refs() == {}


def fail_while_planning() -> None:
    with planning():
        assert is_planning()
        raise ZeroDivisionError


def test_outside_a_plan_nothing_is_planned(recap_home: Path) -> None:
    """The switch goes back, also after an error."""
    del recap_home
    with pytest.raises(ZeroDivisionError):
        fail_while_planning()

    assert not is_planning()
    assert type(open_store()) is Store


def test_a_plan_loads_no_model_library(recap_home: Path, small_project: ProjectConfig) -> None:
    """It is ready before JAX would be, and asks no server."""
    code = (
        "import sys\n"
        "from flows.plans import plan_round\n"
        "from recap_core.config.flows import ProjectConfig\n"
        "plan = plan_round(ProjectConfig.model_validate_json(sys.argv[1])).plan\n"
        "assert len(plan.stages) == 19\n"
        "sys.exit(bool({'jax', 'lerobot', 'torch'} & set(sys.modules)))\n"
    )
    del recap_home

    command = [sys.executable, "-c", code, small_project.model_dump_json()]
    subprocess.run(command, check=True)  # noqa: S603 - our own code


def test_a_stage_that_does_not_exist_cannot_be_refreshed() -> None:
    """The message lists those that can."""
    with pytest.raises(ConfigError, match=r"no stage 'train' to refresh; there are .*train_value"):
        refreshing(["train"]).__enter__()
