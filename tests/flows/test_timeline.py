"""The time line in Prefect: one key, one version per round."""

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import Artifact

from flows.results import IterationResult
from flows.timeline import record_round
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.snapshot import Snapshot
from tests.generated_store import GeneratedStore


@flow(name="told", validate_parameters=False)
def told_in_a_run(result: IterationResult) -> None:
    """Prefect keeps artifacts of runs only."""
    record_round(result)


def _result(rounds: GeneratedStore, k: int) -> IterationResult:
    """What is told of a generated round; the rest of a result is in its record."""
    snapshot, record = Snapshot(rounds.store), rounds.main.records[k - 1]
    report = snapshot.artifact(IterationRecord(record, snapshot.manifests[record.id]).id("report"))
    return IterationResult.model_construct(
        project="handover", robot="aloha", round_index=k, record=record, report=report
    )


def _versions(key: str) -> list[Artifact]:
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])), limit=50
        )
    return sorted(found, key=lambda artifact: str(artifact.created))


@pytest.mark.usefixtures("prefect_api")
def test_rounds_are_versions_of_one_artifact(
    eight_rounds: GeneratedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where pages are served, each has links to its report and to itself."""
    monkeypatch.setenv("RECAP_HOME", str(eight_rounds.store.home))
    monkeypatch.delenv("RECAP_PAGES_URL", raising=False)
    told_in_a_run(_result(eight_rounds, 1))
    assert _versions("report-handover-aloha") == []
    monkeypatch.setenv("RECAP_PAGES_URL", "http://robot:4300")
    told_in_a_run(_result(eight_rounds, 2))

    timeline = _versions("iteration-handover-aloha")
    told = [artifact.description or "" for artifact in timeline]
    assert [text.partition(":")[0] for text in told] == ["Round 1", "Round 2"]
    assert "## What changed since round 1" in str(timeline[1].data)
    (report,) = _versions("report-handover-aloha")
    assert "http://robot:4300/reports/" in str(report.data)
    (link,) = _versions("round-handover-aloha")
    assert f"http://robot:4300/iterations/{eight_rounds.main.records[1].id}" in str(link.data)
