"""Artifacts by the names that people use."""

import pytest

from recap_core.errors import ArtifactError, ArtifactNotFoundError, ConfigError
from recap_core.lineage.references import find_artifact
from tests.generated_store import GeneratedStore


def test_the_last_part_of_a_ref_is_enough_where_one_project_has_it(
    eight_rounds: GeneratedStore,
) -> None:
    """Only the first project has an eighth round."""
    store = eight_rounds.store

    assert find_artifact(store, "round-8") == eight_rounds.main.records[7]
    assert find_artifact(store, "round-8").id == store.refs()["handover/aloha/round-8"]


def test_a_ref_of_two_projects_needs_one_of_them_named(eight_rounds: GeneratedStore) -> None:
    """By project, or by project and robot."""
    store = eight_rounds.store

    with pytest.raises(ArtifactError, match=r"'current' is a ref of 2 projects .*--project"):
        find_artifact(store, "current")
    for project in ("pegs", "pegs/arm"):
        found = find_artifact(store, "current", project=project)
        assert found == store.get("pegs/arm/current")


def test_ids_names_and_whole_refs_go_on_working(eight_rounds: GeneratedStore) -> None:
    """With a project or without."""
    store, record = eight_rounds.store, eight_rounds.main.records[0]

    for reference in (record.id, record.id[:10], f"round-1-{record.id[:8]}"):
        assert find_artifact(store, reference, project="pegs") == record
    assert find_artifact(store, "handover/aloha/round-1", project="pegs") == record


def test_what_does_not_exist_is_named_with_what_does(eight_rounds: GeneratedStore) -> None:
    """A project that is not there, and a ref that is not."""
    with pytest.raises(ConfigError, match=r"no project 'nosuch' in .*handover/aloha, pegs/arm"):
        find_artifact(eight_rounds.store, "current", project="nosuch")
    with pytest.raises(ArtifactNotFoundError, match=r"'currant'.*one of the refs .*current"):
        find_artifact(eight_rounds.store, "currant")
    with pytest.raises(ArtifactNotFoundError, match=r"did you mean handover/aloha/round-8\?"):
        find_artifact(eight_rounds.store, "policy/round-8")
