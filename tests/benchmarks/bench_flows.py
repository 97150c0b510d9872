"""What orchestration costs: a bootstrap and a round as a flow, beside the same stages called.

Both run in this process, on stores of their own, with the plumbing demo's settings; what one of
them compiles, the other compiles too. DESIGN's bars: 5 % or 5 s more, and 5 s for a round that is
only looked up again, with no stage executed.
"""

import os
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_LEVEL, temporary_settings
from pytest_benchmark.fixture import BenchmarkFixture

from deployments.server import prefect_server
from flows.forms import RoundChoice
from flows.iteration import recap_iteration
from recap_core.config.flows import ProjectConfig
from recap_core.config.iteration import RecordIterationConfig
from recap_core.config.presets import plumbing_project
from recap_core.config.stages import ReportConfig
from recap_core.lineage.project_files import project_name, save_project
from recap_core.lineage.store import Store
from recap_core.progress import Silent
from recap_core.stages.judge import judge
from tasks.stage_functions import call_stage

NUM_LOOKUPS = 5


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _call_stages(config: ProjectConfig, home: Path) -> None:
    """The stages of a bootstrap and a first round, one after the other."""
    store, first, then, runtime = Store(home), config.bootstrap, config.iteration, config.runtime

    def call(stage: str, **arguments: Any) -> Any:  # noqa: ANN401 - of any stage
        return call_stage(stage, {"name": "x", **arguments}, store=store, progress=Silent())

    def train(dataset: Any, start: Any, settings: Any) -> Any:  # noqa: ANN401
        return call(
            "train_policy", dataset=dataset, norm_stats=stats, start=start, config=settings,
            runtime=runtime.train,
        )  # fmt: skip

    def evaluate(policy: Any) -> Any:  # noqa: ANN401
        return call("evaluate", policy=policy, config=then.evaluation, runtime=runtime.collect)

    shown = call("collect", policy=None, config=first.demonstrations, runtime=runtime.collect)
    demonstrations = call("convert", recording=shown, config=first.convert)
    stats = call("norm_stats", dataset=demonstrations, config=first.norm_stats)
    start = train(demonstrations, None, first.sft)
    before = evaluate(start)
    recording = call("collect", policy=start, config=then.collect, runtime=runtime.collect)
    rollouts = call("convert", recording=recording, config=then.convert)
    merged = call("merge", datasets=(demonstrations, rollouts), config=then.merge)
    value_model = call(
        "train_value", dataset=merged, norm_stats=stats, config=then.value, runtime=runtime.train,
        start=None,
    )  # fmt: skip
    values = call(
        "infer_values", dataset=merged, value_model=value_model,
        config=then.infer.for_labels(then.label), runtime=runtime.infer,
    )  # fmt: skip
    labels = call("label", dataset=merged, values=values, config=then.label)
    copied = call("copy", dataset=merged)
    relabeled = call("relabel", copy=copied, labels=labels)
    policy = train(relabeled, start, then.finetune)
    after = evaluate(policy)
    control = evaluate(train(demonstrations, start, then.control))
    decision = judge(before, after, then.gate, offline=None, store=store)
    settings = config.model_dump(mode="json", exclude={"runtime"})
    page = call(
        "report", before=before, after=after, control=control, policy=policy, dataset=relabeled,
        value_model=value_model, values=values, labels=labels, current=before,
        config=ReportConfig(title="Round 1", decision=decision, settings=settings),
    )  # fmt: skip
    call(
        "record_iteration", parts={"policy": policy, "report": page},
        config=RecordIterationConfig(
            project=config.project, robot=config.robot, round_index=1, decision=decision,
            settings=settings,
        ),
    )  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Generator[None]:
    """The server that a store has."""
    home = tmp_path / "server"
    home.mkdir()
    with prefect_server(home) as local:
        assert local is not None, "unset PREFECT_API_URL"
        updates: dict[Any, Any] = {
            PREFECT_API_URL: local.wait().api_url,
            PREFECT_LOGGING_LEVEL: "WARNING",
        }
        with temporary_settings(updates):
            yield


@pytest.mark.benchmark(group="flows")
@pytest.mark.timeout(1200)
def bench_round(
    benchmark: BenchmarkFixture,
    server: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Flow beside direct calls; then the same round again, everything cached."""
    del server
    config = plumbing_project(cameras=False)
    home = tmp_path / "flow"
    monkeypatch.setenv("RECAP_HOME", str(home))
    save_project(home, config)
    name = project_name(config)
    _call_stages(config, tmp_path / "warm")  # imports, and what is compiled once for all

    direct_s = _seconds(lambda: _call_stages(config, tmp_path / "direct"))
    flow_s = _seconds(lambda: recap_iteration(name))
    benchmark.pedantic(
        lambda: recap_iteration(name, this_round=RoundChoice(index=1)), rounds=NUM_LOOKUPS
    )

    benchmark.extra_info["direct_s"] = direct_s
    benchmark.extra_info["flow_s"] = flow_s
    benchmark.extra_info["added_s"] = flow_s - direct_s
    benchmark.extra_info["load"] = os.getloadavg()[0]
