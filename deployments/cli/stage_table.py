"""What a run did, stage by stage, as a table and as plain data."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from rich.table import Table

from flows.results import BootstrapResult, IterationResult
from recap_core.lineage.artifacts import Artifact, Evaluation, Labels
from recap_core.lineage.headlines import success_text
from recap_core.lineage.store import Store


class StageRow(NamedTuple):
    """One stage of a run."""

    stage: str
    artifact: Artifact
    seconds: float
    """How long the stage took when it was executed, in this run or an earlier one."""
    is_cached: bool

    def plain(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {
            "stage": self.stage,
            "name": self.artifact.name,
            "kind": self.artifact.kind,
            "id": self.artifact.id,
            "seconds": round(self.seconds, 3),
            "cached": self.is_cached,
            **self.artifact.details(),
        }


def stage_rows(
    results: Iterable[BootstrapResult | IterationResult], store: Store, *, since: datetime
) -> list[StageRow]:
    """One row per artifact of the results, in the order of the flows; each artifact once.

    Args:
        results: What the flows returned.
        store: Where the artifacts are.
        since: When the run began; what was finished before that is cached.
    """
    rows: dict[str, StageRow] = {}
    for artifact in (artifact for result in results for artifact in _artifacts(result)):
        manifest = store.manifest(artifact)
        rows.setdefault(
            artifact.id,
            StageRow(
                stage=manifest.stage.replace("_", "-"),
                artifact=artifact,
                seconds=(manifest.finished_at - manifest.started_at).total_seconds(),
                is_cached=manifest.finished_at < since,
            ),
        )
    return list(rows.values())


def stage_table(rows: list[StageRow]) -> Table:
    """The rows for a terminal of 80 columns or more."""
    table = Table(header_style="bold", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("stage", "artifact", "time", "cached", "frames", "labels, success [95 %]"):
        is_number = title in {"time", "frames"}
        table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
    for row in rows:
        time = f"{row.seconds:.1f} s"
        table.add_row(
            row.stage,
            row.artifact.name,
            f"[dim]({time})[/dim]" if row.is_cached else time,
            "yes" if row.is_cached else "",
            _frames(row.artifact),
            _result(row.artifact),
        )
    return table


def _artifacts(result: BootstrapResult | IterationResult) -> list[Artifact]:
    if isinstance(result, BootstrapResult):
        return [
            *result.recordings,
            result.demonstrations,
            result.norm_stats,
            result.policy,
            *((result.evaluation,) if result.evaluation else ()),
        ]
    experience, learning, judgement = result.experience, result.learning, result.judgement
    relabeling = learning.relabeling
    relabeled = (
        (relabeling.values, relabeling.labels, relabeling.copy_of_merged, relabeling.dataset)
        if relabeling
        else ()
    )
    chain = (
        *experience.recordings,
        *experience.rollouts,
        *(experience.merged, learning.value_model),
        *relabeled,
        *(learning.policy, judgement.before, judgement.collector, judgement.after),
        *(judgement.control_policy, judgement.control, result.report, result.record),
    )
    return [artifact for artifact in chain if artifact is not None]


def _frames(artifact: Artifact) -> str:
    frames = getattr(artifact, "num_frames", None)
    return "" if frames is None else f"{frames:,}"


def _result(artifact: Artifact) -> str:
    if isinstance(artifact, Evaluation):
        return success_text(artifact)
    if isinstance(artifact, Labels):
        total = artifact.num_frames
        shares = (artifact.num_positive, artifact.num_negative, artifact.num_none)
        names = ("pos", "neg", "none")
        return ", ".join(f"{n / total:.0%} {name}" for n, name in zip(shares, names, strict=True))
    return ""
