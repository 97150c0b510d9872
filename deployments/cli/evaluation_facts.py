"""What is known after an evaluation: a row per policy, and how each compares with a reference."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from recap_core.config.gate import GateConfig, GateDecision
from recap_core.evaluation.checkpoint_row import CheckpointRow
from recap_core.evaluation.gate import Pair, pairs_by_seed
from recap_core.evaluation.outcome import EpisodeOutcome
from recap_core.evaluation.sequential import Question, SequentialTest, is_at_least, is_better
from recap_core.evaluation.tally import verdict_sentence
from recap_core.lineage.artifacts import Evaluation, OfflineCheck, PolicyCheckpoint, Recording
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
    num_discarded: int = 0
    """Episodes that the operator deleted while recording; nobody can say any more how they went."""

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
            "num_discarded": self.num_discarded,
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
    test: SequentialTest | None
    """The same question, answered in a way that allows for stopping early; None where there are no
    pairs."""

    def plain(self) -> dict[str, Any]:
        """For programs."""
        overall = self.decision.overall
        return {
            "new": self.new.policy.id,
            "reference": self.reference.policy.id,
            "verdict": self.decision.verdict,
            "reasons": list(self.decision.reasons),
            "num_more_episodes": self.decision.num_more_episodes,
            "overall": overall.model_dump(mode="json") if overall else None,
            "gained_seeds": list(self.gained),
            "lost_seeds": list(self.lost),
            "sequential": None if self.test is None else _plain(self.test),
        }


def _plain(test: SequentialTest) -> dict[str, Any]:
    standing = test.standing()
    return {
        "verdict": standing.verdict,
        "num_pairs": standing.num_trials,
        "num_pairs_at_verdict": test.num_at_verdict,
        "num_more_pairs": standing.num_more,
        "estimate": standing.estimate,
        "interval": list(standing.interval),
        "sentence": verdict_sentence(test),
    }


def compare(  # noqa: PLR0913 - all but the first two by name
    new: Tried,
    reference: Tried,
    *,
    gate: GateConfig,
    offline: OfflineCheck | None,
    store: Store,
    test: SequentialTest | None = None,
) -> Compared:
    """Compare a policy with the reference.

    Args:
        new: The policy.
        reference: What it is compared with.
        gate: The rule, its confidence, and the loss that matters.
        offline: Check of the new policy without a robot; None: there was none.
        store: Where both evaluations are.
        test: The sequential test that stopped the evaluation; None: it is made up for now, seed by
            seed, where the gate compares the policies seed by seed.
    """
    decision = judge(reference.evaluation, new.evaluation, gate, offline=offline, store=store)
    is_comparable = decision.overall is not None
    pairs = pairs_by_seed(reference.outcomes, new.outcomes) if is_comparable else None
    if pairs is None:
        return Compared(new, reference, decision, gained=(), lost=(), test=None)
    return Compared(
        new,
        reference,
        decision,
        gained=tuple(each.new.seed for each in pairs if each.new.success > each.current.success),
        lost=tuple(each.new.seed for each in pairs if each.new.success < each.current.success),
        test=test or _sequential(pairs, gate),
    )


def question_of(gate: GateConfig) -> Question:
    """What a sequential test asks under a gate: its confidence, and the difference that matters.

    Where a gain must have a size, that is what matters, and what falls short of it is shown sooner.
    """
    if gate.rule == "better" and gate.min_gain:
        return is_better(margin=None, min_gain=gate.min_gain, confidence=gate.confidence)
    margin = gate.max_loss if 0 < gate.max_loss < 1 else None
    return is_better(margin=margin, confidence=gate.confidence)


def _sequential(pairs: Sequence[Pair], gate: GateConfig) -> SequentialTest:
    test = SequentialTest(question_of(gate))
    for pair in pairs:
        test.add_pair(new=pair.new.success, other=pair.current.success)
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
