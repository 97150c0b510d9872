"""What is known after an evaluation: a row per policy, and how each compares with a reference."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from recap_core.config.gate import GateConfig, GateDecision
from recap_core.evaluation.checkpoint_row import CheckpointRow
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.sequential import SequentialTest, is_at_least, is_better
from recap_core.evaluation.tally import verdict_sentence
from recap_core.lineage.artifacts import Evaluation, PolicyCheckpoint, Recording
from recap_core.lineage.store import Store
from recap_core.stages.judge import judge
from recap_core.stages.score_recording import LeftOut


class Tried(NamedTuple):
    """A policy and its episodes."""

    name: str
    """What people call it here."""
    policy: PolicyCheckpoint
    evaluation: Evaluation
    outcomes: tuple[EpisodeOutcome, ...]
    row: CheckpointRow
    recording: Recording | None = None
    """Where its episodes were recorded."""
    left_out: tuple[LeftOut, ...] = ()
    """Recorded episodes that do not count."""

    @property
    def label(self) -> str:
        """``round-3-1a2b3c4d``."""
        return label(self.policy)

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {
            "policy": self.policy.id,
            "label": self.label,
            "evaluation": self.evaluation.id,
            "recording": self.recording.id if self.recording else None,
            "left_out": [each._asdict() for each in self.left_out],
            **self.row.plain(),
        }


class Compared(NamedTuple):
    """One policy against the reference."""

    new: Tried
    reference: Tried
    decision: GateDecision
    """What the gate says, for a number of episodes fixed beforehand."""
    gained: tuple[int, ...]
    """Seeds on which only the new policy succeeded; none where seeds differ."""
    lost: tuple[int, ...]
    test: SequentialTest
    """The same question, answered in a way that allows for stopping early."""

    def plain(self) -> dict[str, Any]:
        """For programs."""
        standing, overall = self.test.standing(), self.decision.overall
        return {
            "new": self.new.policy.id,
            "reference": self.reference.policy.id,
            "verdict": self.decision.verdict,
            "reasons": list(self.decision.reasons),
            "num_more_episodes": self.decision.num_more_episodes,
            "overall": overall.model_dump(mode="json") if overall else None,
            "gained_seeds": list(self.gained),
            "lost_seeds": list(self.lost),
            "sequential": {
                "verdict": standing.verdict,
                "num_pairs": standing.num_trials,
                "num_pairs_at_verdict": self.test.num_at_verdict,
                "num_more_pairs": standing.num_more,
                "estimate": standing.estimate,
                "interval": list(standing.interval),
                "sentence": verdict_sentence(self.test),
            },
        }


def compare(
    new: Tried,
    reference: Tried,
    *,
    gate: GateConfig,
    store: Store,
    test: SequentialTest | None = None,
) -> Compared:
    """Compare a policy with the reference.

    Args:
        new: The policy.
        reference: What it is compared with.
        gate: The rule, its confidence, and the loss that matters.
        store: Where both evaluations are.
        test: The sequential test that stopped the evaluation; None: it is made up for now, episode
            by episode: seed by seed where they are the same, else the next of each.
    """
    decision = judge(reference.evaluation, new.evaluation, gate, offline=None, store=store)
    was = {outcome.seed: outcome.success for outcome in reference.outcomes}
    both = [outcome for outcome in new.outcomes if outcome.seed in was]
    return Compared(
        new,
        reference,
        decision,
        gained=tuple(each.seed for each in both if each.success and not was[each.seed]),
        lost=tuple(each.seed for each in both if was[each.seed] and not each.success),
        test=test or _sequential(new.outcomes, reference.outcomes, gate),
    )


def question_of(gate: GateConfig) -> Any:  # noqa: ANN401 - Question
    """What a sequential test asks under a gate: its confidence, and the difference that matters."""
    margin = gate.max_loss if 0 < gate.max_loss < 1 else None
    return is_better(margin=margin, confidence=gate.confidence)


def _sequential(
    new: Sequence[EpisodeOutcome], reference: Sequence[EpisodeOutcome], gate: GateConfig
) -> SequentialTest:
    test = SequentialTest(question_of(gate))
    was = {outcome.seed: outcome.success for outcome in reference}
    is_paired = bool(was) and all(outcome.seed in was for outcome in new)
    for index, outcome in enumerate(new):
        if is_paired:
            test.add_pair(new=outcome.success, other=was[outcome.seed])
        elif index < len(reference):
            test.add_pair(new=outcome.success, other=reference[index].success)
    return test


def against_target(tried: Tried, target: float, confidence: float) -> SequentialTest:
    """Whether a policy reaches a success rate, its episodes taken in order."""
    test = SequentialTest(is_at_least(target, confidence=confidence))
    for outcome in tried.outcomes:
        test.add(is_success=outcome.success)
    return test


def label(artifact: PolicyCheckpoint | Recording) -> str:
    """``round-3-1a2b3c4d``."""
    return f"{artifact.name}-{artifact.id[:8]}"
