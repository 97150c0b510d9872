"""Cards: front matter that the hub reads, and what lineage says."""

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard, ModelCard

from recap_core.config.policy import PolicyConfig
from recap_core.config.sizes import PI05
from recap_core.data.overview import read_overview
from recap_core.errors import IncompatibleError
from recap_core.hub.card_parts import CardOptions
from recap_core.hub.contents import card, hub_contents
from recap_core.lineage.artifacts import AnyDataset
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.registry import IMPORT_POLICY, NoSettings
from tests.generated_store import GeneratedStore

ROBOT = "handover/aloha"


@pytest.fixture(scope="module")
def snapshot(finished_rounds: GeneratedStore) -> Snapshot:
    """Three finished rounds."""
    return Snapshot(finished_rounds.store)


def artifact(snapshot: Snapshot, ref: str) -> Any:  # noqa: ANN401 - of the kind that the ref is for
    """What one of the main project's refs points to."""
    return snapshot.store.get(f"{ROBOT}/{ref}")


def test_the_card_of_a_dataset(snapshot: Snapshot) -> None:
    """What the hub and its viewer read is there; the numbers are the dataset's."""
    dataset = artifact(snapshot, "round-3-relabeled")
    assert isinstance(dataset, AnyDataset)
    overview = read_overview(snapshot.store.path(dataset))

    text = card(snapshot, dataset, CardOptions("lab/towels", license="cc-by-4.0"))

    front = DatasetCard(text).data.to_dict()
    assert front["license"] == "cc-by-4.0"
    assert front["task_categories"] == ["robotics"]
    assert {"LeRobot", "recap"} <= set(front["tags"])
    assert front["configs"] == [{"config_name": "default", "data_files": "data/*/*.parquet"}]
    failures = overview.num_episodes - overview.num_successes
    assert f"| {overview.num_successes} successes, {failures} failures |" in text
    assert 'LeRobotDataset("lab/towels")' in text
    assert "hf download lab/towels --repo-type dataset --local-dir towels" in text
    for column in ("intervention", "reward", "reward_label", "value_label", "adv_ind"):
        assert f"| `{column}` |" in text
    assert "of each task" in text  # the label rule
    assert "rank correlation with the return 0.542 [0.300, 0.800]" in text  # of its value model
    assert f"Part of {ROBOT}/round-3." in text
    assert text.count("| demonstration |") == 1  # the recordings behind it


def test_the_card_of_a_policy(snapshot: Snapshot) -> None:
    """Its success with interval and seeds, and what the gate said, are in it."""
    policy = artifact(snapshot, "round-3-policy")
    (evaluation,) = snapshot.children(policy.id, "evaluation")
    details = evaluation.details
    rate = details["num_successes"] / details["num_episodes"]

    text = card(snapshot, policy, CardOptions("lab/handover"))

    found = ModelCard(text).data.to_dict()
    assert (found["pipeline_tag"], "license" in found) == ("robotics", False)
    (result,) = found["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == pytest.approx(rate)
    assert f"{100 * rate:.1f} % [" in text
    assert "seeds 500000 to 500039" in text
    reason = "the new policy is not worse|the new policy is worse"
    assert re.search(rf"{ROBOT}/round-3: \*\*(promoted|kept)\*\*\. ({reason})", text)
    assert "evaluated in simulation only, never on a robot" in text
    assert "recap serve handover" in text
    assert "Value model round-3-" in text


def test_the_card_of_a_policy_that_was_only_taught(snapshot: Snapshot) -> None:
    """It learned from demonstrations, and no gate judged it."""
    text = card(snapshot, artifact(snapshot, "start"), CardOptions())

    assert "steps from demonstrations." in text
    assert "Why it was chosen" not in text


def test_the_card_of_an_imported_policy_of_openpis_size(tmp_path: Path) -> None:
    """It can be served by openpi; nothing is known of how good it is, nor of what it learned."""
    store = Store(tmp_path / "home")

    def build(area: Build) -> Built:
        (area.output / "policy.json").write_text(PolicyConfig(model=PI05).model_dump_json())
        return Built({"num_steps": 30_000, "num_params": 1, "source": "/home/ana/ckpt/29999"})

    policy = store.produce(IMPORT_POLICY, NoSettings(), {}, name="pi05", build=build)
    text = card(Snapshot(store), policy, CardOptions("lab/pi05"))

    assert "pi0.6 architecture (`pi05`)" in text
    assert "serve_policy.py policy:checkpoint --policy.config=CONFIG" in text
    assert "openpi's own prompt has no `Advantage: positive`" in text
    assert "It has not been evaluated." in text
    assert "What it was trained on is not known here." in text
    assert "/home" not in text


def test_the_card_of_a_value_model(snapshot: Snapshot) -> None:
    """Its health, measured on episodes that it was not trained on."""
    labels = artifact(snapshot, "round-3-relabeled").parents[1]
    model = snapshot.artifact(snapshot.parent(snapshot.parent(labels, "values"), "value_model"))
    assert model is not None

    text = card(snapshot, model, CardOptions())

    assert ModelCard(text).data.to_dict()["tags"] == ["robotics", "recap", "value-function"]
    assert "| `spearman` | 0.542 [0.300, 0.800] |" in text
    assert "did not pass the health gate" not in text


def test_people_are_named_only_if_asked_for(snapshot: Snapshot) -> None:
    """Recorders wrote them into every episode."""
    policy = artifact(snapshot, "round-3-policy")

    def people(*, with_operators: bool) -> set[str]:
        options = CardOptions(with_operators=with_operators)
        texts = hub_contents(snapshot, policy, options).texts.values()
        return set(re.findall(r"\b(ada|ben)\b", b" ".join(texts).decode()))

    assert people(with_operators=False) == set()
    assert people(with_operators=True) == {"ada", "ben"}


def test_what_is_no_dataset_policy_or_value_model_has_no_card(snapshot: Snapshot) -> None:
    """Reports, recordings and so on."""
    with pytest.raises(
        IncompatibleError, match=r"norm_stats demonstrations-.* no place on the hub"
    ):
        card(snapshot, artifact(snapshot, "norm-stats"), CardOptions())
