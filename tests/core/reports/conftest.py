"""A report as the demo writes it: three rates, three episodes, eighteen artifacts."""

import hashlib
from typing import Literal

import numpy as np
import pytest

from recap_core.config.changes import SettingChange
from recap_core.labels.adv_ind import NEGATIVE, NONE, POSITIVE
from recap_core.reports.content import (
    Comparison,
    Fact,
    HealthSummary,
    Interval,
    IterationReport,
    LabelShare,
    LineageEdge,
    LineageGraph,
    LineageNode,
    Note,
    Reproduction,
    StageRow,
    SuccessBar,
    Thumbnail,
    TrainingCurve,
    ValueCurve,
)
from recap_core.reports.round_content import (
    ClassRow,
    DecisionPart,
    Moved,
    OfflinePart,
    RoundChange,
    TaskChange,
    TaskRate,
)

THRESHOLD = 0.021


def artifact_id(name: str) -> str:
    """A stable id of 32 hexadecimal digits."""
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


def camera_frame(progress: float, *, size: int = 96) -> np.ndarray:
    """A table, two grippers and a cube that travels from right to left."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    image = np.empty((size, size, 3), dtype=np.uint8)
    image[:] = (np.stack([150 + 40 * rows, 140 + 36 * rows, 128 + 30 * rows], -1)).astype(np.uint8)
    cube = 0.72 - 0.3 * progress
    height = 0.68 - 0.25 * min(1.0, 2 * progress)
    for centre, top, half, colour in (
        (0.95 - 0.23 * min(1.0, 3 * progress), height - 0.1, 0.06, (52, 56, 64)),
        (0.1 + 0.3 * progress, 0.42, 0.06, (52, 56, 64)),
        (cube, height, 0.045, (196, 44, 40)),
    ):
        image[(abs(columns - centre) < half) & (abs(rows - top) < half * 1.2)] = colour
    return image


def episode(
    title: str,
    *,
    index: int,
    num_frames: int,
    outcome: Literal["success", "failure"],
    takeover: tuple[int, int] | None,
) -> ValueCurve:
    """An episode whose value stalls, falls or rises as its outcome and its takeover say."""
    rng = np.random.default_rng(index)
    t = np.arange(num_frames)
    targets = np.full(num_frames, -1.0) if outcome == "failure" else -(num_frames - 1 - t) / 40
    is_intervention = np.zeros(num_frames, dtype=bool)
    if takeover:
        is_intervention[slice(*takeover)] = True
    rise = np.cumsum(np.where(is_intervention, 0.05, 0.014 if outcome == "success" else -0.008))
    values = np.clip(-0.8 + rise + rng.normal(0, 0.025, num_frames), -1, 0)
    end = 0.0 if outcome == "success" else -1.0
    ahead = np.append(values, np.full(8, end))[8 : 8 + num_frames]
    advantage = ahead - values - np.minimum(8, num_frames - t) / 40
    codes = np.where(is_intervention | (advantage >= THRESHOLD), POSITIVE, NEGATIVE)
    if takeover:
        codes[takeover[0] - 2 : takeover[0]] = NONE
    shown = np.linspace(1, num_frames - 2, 7).astype(int)
    return ValueCurve(
        title=title,
        episode_index=index,
        fps=10,
        outcome=outcome,
        values=values,
        targets=targets,
        advantage=np.where(codes == NONE, np.nan, advantage),
        adv_ind=codes,
        is_intervention=is_intervention,
        threshold=THRESHOLD,
        thumbnails=tuple(
            Thumbnail(frame=int(f), image=camera_frame(float(f / num_frames)), camera="top")
            for f in shown
        ),
    )


def lineage() -> LineageGraph:
    """The graph of a bootstrap, one iteration and its control."""
    made_from = {
        ("recording", "demonstrations"): [],
        ("dataset", "demonstrations-v3"): ["demonstrations"],
        ("norm_stats", "norm-stats"): ["demonstrations-v3"],
        ("policy_checkpoint", "start"): ["demonstrations-v3", "norm-stats"],
        ("evaluation", "start-evaluation"): ["start"],
        ("recording", "round1-rollouts"): ["start"],
        ("dataset", "round1-v3"): ["round1-rollouts"],
        ("dataset", "round1-merged"): ["demonstrations-v3", "round1-v3"],
        ("value_checkpoint", "round1-value-model"): ["round1-merged", "norm-stats"],
        ("values", "round1-values"): ["round1-merged", "round1-value-model"],
        ("labels", "round1-labels"): ["round1-merged", "round1-values"],
        ("dataset_copy", "round1-merged-copy"): ["round1-merged"],
        ("relabeled_dataset", "round1-merged-relabeled-top20"): [
            "round1-merged-copy",
            "round1-labels",
        ],
        ("policy_checkpoint", "round1-policy"): [
            "round1-merged-relabeled-top20",
            "norm-stats",
            "start",
        ],
        ("policy_checkpoint", "control"): ["demonstrations-v3", "norm-stats", "start"],
        ("evaluation", "round1-evaluation"): ["round1-policy"],
        ("evaluation", "control-evaluation"): ["control"],
    }
    nodes = tuple(
        LineageNode(
            id=artifact_id(name),
            kind=kind,
            name=name,
            highlight=name == "round1-policy",
            address=f"#artifact-{artifact_id(name)}",
        )
        for kind, name in made_from
    )
    edges = tuple(
        LineageEdge(source=artifact_id(source), target=artifact_id(name), role="")
        for (_, name), sources in made_from.items()
        for source in sources
    )
    return LineageGraph(nodes=nodes, edges=edges)


def training_curve(name: str, *, num_steps: int, start: float, end: float) -> TrainingCurve:
    """A loss that decays with noise."""
    rng = np.random.default_rng(num_steps)
    steps = np.arange(0, num_steps + 1, 10)
    decay = np.exp(-5 * steps / num_steps)
    loss = (end + (start - end) * decay) * rng.lognormal(0, 0.08, len(steps))
    held_out = steps[::5]
    return TrainingCurve(
        name=name,
        steps=steps,
        loss=loss,
        held_out_steps=held_out if "Value" in name else None,
        held_out_loss=(end * 1.15 + (start - end) * decay[::5]) if "Value" in name else None,
        loss_name="cross-entropy" if "Value" in name else "flow-matching loss",
    )


def stages() -> tuple[StageRow, ...]:
    """The stages of a demo, with one result from the store."""
    rows = [
        ("collect demonstrations", "demonstrations", 2.1, 141, ""),
        ("convert", "demonstrations-v3", 3.4, 141, ""),
        ("norm stats", "norm-stats", 0.1, 141, ""),
        ("train policy (SFT)", "start", 48.2, 141, "1,500 steps"),
        ("evaluate", "start-evaluation", 9.3, 4873, ""),
        ("collect rollouts", "round1-rollouts", 41.0, 2699, "80 episodes, 26 with a takeover"),
        ("convert", "round1-v3", 21.5, 2699, ""),
        ("merge", "round1-merged", 0.6, 2840, ""),
        ("train value model", "round1-value-model", 14.2, 2840, "400 steps"),
        ("infer values", "round1-values", 1.2, 2840, ""),
        ("label", "round1-labels", 0.0, 2840, ""),
        ("copy", "round1-merged-copy", 0.2, 2840, ""),
        ("relabel", "round1-merged-relabeled-top20", 0.3, 2840, ""),
        ("fine-tune policy", "round1-policy", 52.7, 2840, "1,500 steps"),
        ("evaluate", "round1-evaluation", 8.8, 4519, ""),
        ("train control", "control", 49.9, 141, "demonstrations only"),
        ("evaluate", "control-evaluation", 9.1, 4712, ""),
    ]
    return tuple(
        StageRow(
            stage=stage,
            artifact_name=name,
            artifact_id=artifact_id(name),
            seconds=seconds,
            frames=frames,
            note=note,
            cached=name == "norm-stats",
            new_bytes=1000 * frames,
        )
        for stage, name, seconds, frames, note in rows
    )


def success_bars() -> tuple[SuccessBar, ...]:
    """Start, control and new policy, 150 episodes each."""
    return (
        SuccessBar(
            name="Starting policy",
            successes=44,
            episodes=150,
            low=0.226,
            high=0.371,
            per_1000_frames=8.5,
            role="baseline",
            note="SFT on 6 demonstrations",
        ),
        SuccessBar(
            name="Control",
            successes=57,
            episodes=150,
            low=0.306,
            high=0.460,
            per_1000_frames=11.2,
            role="control",
            note="same extra steps, demonstrations only",
        ),
        SuccessBar(
            name="New policy",
            successes=100,
            episodes=150,
            low=0.588,
            high=0.737,
            per_1000_frames=22.2,
            role="candidate",
            note="one RECAP iteration",
        ),
    )


def health() -> HealthSummary:
    """A value model that may label."""
    return HealthSummary(
        healthy=True,
        spearman=Interval(value=0.71, low=0.58, high=0.81, bar=0.2),
        separation=Interval(value=0.34, low=0.21, high=0.46, bar=0.0),
        largest_bin_share=0.13,
        largest_bin_limit=0.9,
        cross_entropy=3.12,
        top1=0.094,
        top5=0.381,
        held_out_episodes=9,
    )


def comparisons() -> tuple[Comparison, ...]:
    """The new policy with each of the others."""
    return (
        Comparison(
            candidate="New policy",
            baseline="Starting policy",
            difference=0.373,
            low=0.267,
            high=0.473,
            outcome="better",
            method="paired over the same 150 seeds",
        ),
        Comparison(
            candidate="New policy",
            baseline="Control",
            difference=0.287,
            low=0.180,
            high=0.387,
            outcome="better",
            method="paired over the same 150 seeds",
        ),
    )


def costs() -> tuple[Fact, ...]:
    """What the iteration took."""
    return (
        Fact(label="Time on this machine", value="4 min 23 s", note="2 cores, no GPU"),
        Fact(label="Robot time", value="4 min 30 s", note="80 episodes, 2,699 frames"),
        Fact(label="Operator", value="23 s", note="26 takeovers, 231 frames"),
        Fact(label="New disk space", value="38 MB", note="videos shared by 4 datasets"),
    )


def notes() -> tuple[Note, ...]:
    """What a reader should keep in mind."""
    return (
        Note(
            text="One training seed. Repeating a fine-tune moves the rate by about 8 points.",
            severity="warning",
        ),
        Note(text="The control gained 8.7 points from more steps alone; compare with that bar."),
    )


def value_curves() -> tuple[ValueCurve, ...]:
    """A success, a rescue and a failure."""
    return (
        episode("Unaided success", index=57, num_frames=31, outcome="success", takeover=None),
        episode(
            "Rescued by the operator",
            index=12,
            num_frames=38,
            outcome="success",
            takeover=(14, 22),
        ),
        episode("Failure", index=33, num_frames=40, outcome="failure", takeover=None),
    )


def label_shares() -> tuple[LabelShare, ...]:
    """One task, labelled."""
    return (
        LabelShare(
            task="transfer cube",
            demonstration=141,
            intervention=231,
            positive=494,
            negative=1974,
            none=0,
            threshold=THRESHOLD,
            autonomous_positive_share=0.2002,
        ),
    )


def training_curves() -> tuple[TrainingCurve, ...]:
    """Start, value model and new policy."""
    return (
        training_curve("Starting policy (SFT)", num_steps=1500, start=1.6, end=0.035),
        training_curve("Value model", num_steps=400, start=5.3, end=2.9),
        training_curve("New policy", num_steps=1490, start=0.21, end=0.048),
    )


def decision() -> DecisionPart:
    """What the gate said of the new policy."""
    return DecisionPart(
        verdict="promoted",
        reasons=(
            "The new policy is better than the one in use: +37.3 points, at least +26.7.",
            "No task got worse.",
        ),
        tasks=(
            TaskRate(
                task="transfer cube", num_episodes=150, current=0.293, new=0.667,
                low=0.267, high=0.473,
            ),
        ),
    )  # fmt: skip


def offline() -> OfflinePart:
    """Held-out frames, with and without people."""
    return OfflinePart(
        num_episodes=9,
        num_frames=640,
        rows=(
            ClassRow("demonstration", 40, 0.31, 0.33),
            ClassRow("positive", 300, 0.42, 0.51),
            ClassRow("negative", 300, 1.13, None),
        ),
        failed=("range",),
        warnings=("Two dimensions leave the range that was recorded.",),
        seen_in_training=False,
    )


def change() -> RoundChange:
    """Against a round before."""
    return RoundChange(
        round_index=1,
        moved=(Moved(label="rank correlation of V", before="0.49", after="0.71"),),
        labels=(
            TaskChange(
                task="transfer cube", num_frames=2000, gained=110, lost=70, other=20,
                before=0.21, after=0.23,
            ),
        ),
        settings=(SettingChange("iteration.label.positive_share", "0.2", "0.3"),),
        num_new_episodes=80,
        num_new_frames=2699,
    )  # fmt: skip


def reproduction() -> Reproduction:
    """How to get the same again."""
    return Reproduction(
        facts=(
            Fact(label="Seed", value="0", note="evaluation seeds 500000 to 500149"),
            Fact(label="Code version", value="0.1.0+g8dd782e"),
            Fact(label="Libraries", value="jax 0.10.0, lerobot 0.6.1, mujoco 3.8.1"),
        ),
        commands=("make setup", "recap demo --seed 0"),
        config="iteration:\n  label:\n    lookahead: 8\n    positive_share: 0.2\n",
    )


def sample_report() -> IterationReport:
    """The whole report."""
    return IterationReport(
        title="RECAP demo, iteration 1",
        subtitle="demo / sim-aloha, transfer cube",
        created="3 March 2026, 14:05",
        success_bars=success_bars(),
        comparisons=comparisons(),
        decision=decision(),
        offline=offline(),
        change=change(),
        costs=costs(),
        notes=notes(),
        value_curves=value_curves(),
        label_rule=(
            "Preset sim_demo: N = 8 frames, the top 20 % of autonomous frames per task, windows "
            "cut at a takeover, targets over a fixed limit of 40 frames."
        ),
        label_shares=label_shares(),
        health=health(),
        training_curves=training_curves(),
        stages=stages(),
        lineage=lineage(),
        reproduction=reproduction(),
    )


@pytest.fixture(scope="session")
def report() -> IterationReport:
    """The demo's report."""
    return sample_report()
