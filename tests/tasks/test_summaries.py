"""Summaries say the important number first, and survive any text."""

from datetime import UTC, datetime, timedelta

import pytest

from recap_core.lineage.artifacts import Artifact, Evaluation, Labels, NormStats, ValueCheckpoint
from recap_core.lineage.headlines import success_text
from recap_core.lineage.manifest import Manifest
from tasks.summaries import artifact_key, headline, summary, table

ID = "0123456789abcdef" * 2
EVALUATION = Evaluation(
    id=ID,
    name="round-1",
    digest="d",
    num_episodes=150,
    num_successes=100,
    success_low=0.588,
    success_high=0.737,
    successes_per_1000_frames=22.2,
)


def test_success_carries_its_interval_and_counts() -> None:
    """A rate alone says too little."""
    assert success_text(EVALUATION) == "66.7 % [59, 74], 100 of 150"


@pytest.mark.parametrize(
    ("artifact", "text"),
    [
        (EVALUATION, "66.7 % [59, 74], 100 of 150"),
        (NormStats(id=ID, name="n", digest="d", num_frames=7), "7 frames"),
        (
            ValueCheckpoint(
                id=ID, name="v", digest="d", num_steps=400, num_params=130_000, healthy=False
            ),
            "130,000 parameters, 400 steps, NOT healthy",
        ),
        (
            Labels(
                id=ID,
                name="l",
                digest="d",
                num_frames=10,
                num_positive=4,
                num_negative=5,
                num_none=1,
                autonomous_positive_share=0.2,
            ),
            "4 positive, 5 negative, 1 none; 20.0% of autonomous frames positive",
        ),
    ],
)
def test_every_kind_has_its_number(artifact: Artifact, text: str) -> None:
    """The line that a list of artifacts shows."""
    assert headline(artifact) == text


def test_a_summary_holds_inputs_results_metrics_and_settings() -> None:
    """What went in, what came out, and what was not a default."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    manifest = Manifest(
        kind="evaluation",
        name="round-1",
        id=ID,
        digest="d",
        stage="evaluate",
        stage_version=1,
        stage_key="k",
        config={"robot": {"cameras": []}, "num_episodes": 150},
        details=EVALUATION.details(),
        metrics={"mean_frames": 21.456789},
        code_version="0.1.0",
        host="here",
        started_at=now,
        finished_at=now + timedelta(seconds=9.04),
    )
    policy = NormStats(id=ID, name="stats", digest="d", num_frames=7)

    text = summary(EVALUATION, manifest, [("norm_stats", policy)])

    assert text.startswith("**66.7 % [59, 74], 100 of 150**")
    assert "made in 9.0 s on here by evaluate v1" in text
    assert "| norm_stats | stats-01234567: 7 frames |" in text
    assert "| mean_frames | 21.46 |" in text
    assert "| robot.cameras | none |" in text


def test_text_cannot_break_a_table() -> None:
    """Task texts come from people."""
    assert table(("a", "b"), [("x|y", "1\n2")]).splitlines()[-1] == "| x\\|y | 1 2 |"
    assert table(("a", "b"), []) == ""


@pytest.mark.parametrize(
    ("text", "key"),
    [("train-policy-round-1", "train-policy-round-1"), ("Demo_2.x/aloha--", "demo-2-x-aloha")],
)
def test_keys_are_what_prefect_accepts(text: str, key: str) -> None:
    """Lower-case letters, digits and dashes."""
    assert artifact_key(text) == key
