"""May a round's new policy be put in use without asking: what else has happened in its project.

The gate compares the new policy with the one that collected for the round. That is an answer to
whether it may take *its* place, and to no other question: not whether it may replace what later
rounds have found, nor what a person has put in use since.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from recap_core.config.gate import GateConfig, GateDecision, written_gate
from recap_core.lineage.artifacts import Artifact, PolicyCheckpoint
from recap_core.lineage.decisions import CURRENT, PersonsWord, decision_on
from recap_core.lineage.iterations import IterationRecord
from recap_core.lineage.keys import each_input
from recap_core.lineage.store import Store

_REPORT = "report"
"""Role of what shows the decision, and so is no part of what it was made from."""


class Standing(NamedTuple):
    """Where a project is when one of its rounds ends."""

    project: str
    """``project/robot``."""
    round_index: int
    later: tuple[int, ...]
    """Rounds after this one that are finished, and are not made anew by the same run."""
    compared: PolicyCheckpoint
    """What the new policy was compared with: the round's collector."""
    current: Artifact | None
    """What is in use."""
    word: PersonsWord | None
    """What was decided about the new policy last."""
    replaces: frozenset[str] = frozenset()
    """Ids of policies that the run was asked to replace, because it makes their rounds anew."""

    @property
    def may_replace(self) -> set[str | None]:
        """Ids of what may be in use when the new policy takes its place; None: nothing."""
        return {None, self.compared.id, *self.replaces}


def standing(  # noqa: PLR0913 - all but the first four by name
    store: Store,
    project: str,
    round_index: int,
    policy: PolicyCheckpoint,
    *,
    compared: PolicyCheckpoint,
    last_round: int | None = None,
) -> Standing:
    """Look it up.

    Args:
        store: Where the refs are.
        project: ``project/robot``.
        round_index: The round that ends.
        policy: What it has made.
        compared: Its collector.
        last_round: The run makes every round up to this one, so their policies are the run's to
            replace, unless a person has put one in use; None: it makes this round only.
    """
    refs = store.refs()
    last = round_index if last_round is None else last_round
    later = {k for k in _finished(refs, project) if k > max(round_index, last)}
    moves = store.ref_history(f"{project}/{CURRENT}")
    is_persons = bool(moves) and moves[-1].by is not None
    return Standing(
        project=project,
        round_index=round_index,
        later=tuple(sorted(later)),
        compared=compared,
        current=store.get_ref(f"{project}/{CURRENT}"),
        word=decision_on(store, project, policy),
        replaces=frozenset()
        if last_round is None or is_persons
        else _policies(store, project, last_round),
    )


def held_back(decision: GateDecision, policy: PolicyCheckpoint, standing: Standing) -> GateDecision:
    """The gate's decision; a promotion that nobody has compared becomes a candidate.

    Args:
        decision: The gate's.
        policy: The new policy.
        standing: Of its project.
    """
    if decision.verdict != "promoted" or standing.current == policy:
        return decision
    why = _why_held_back(standing)
    if why is None:
        return decision
    how = (
        f"Put it in use with: recap promote {_label(policy)} --project {standing.project} "
        "(it compares the two and asks)."
    )
    changed = {"verdict": "candidate", "reasons": (f"{why} {how}", *decision.reasons)}
    return GateDecision.model_validate({**decision.model_dump(), **changed})


def recorded_decision(
    record: IterationRecord,
    parts: Mapping[str, Artifact | Sequence[Artifact] | None],
    gate: GateConfig,
    *,
    store: Store,
) -> GateDecision | None:
    """What was decided when a round was finished; None if it is another round by now.

    It is the same one if it was made of the same parts and judged by the same rule, whatever else
    in the settings has got another name or a new default since.

    Args:
        record: Of the finished round.
        parts: What it consists of now, by role; its report shows the decision, and does not count.
        gate: The rule now.
        store: Where the record is.
    """
    now = [(role, artifact.id) for role, artifact in each_input(parts) if role != _REPORT]
    then = [(part.role, part.id) for part in record.manifest.parents if part.role != _REPORT]
    if now != then:
        return None
    written = record.record(store)
    return written.decision if written_gate(written.settings) == gate else None


def _why_held_back(standing: Standing) -> str | None:
    word = standing.word
    if standing.later:
        rounds = _and([str(k) for k in standing.later])
        is_one = len(standing.later) == 1
        in_use = _label(standing.current) if standing.current else "what they have made"
        return (
            f"Round {standing.round_index} was made anew after round{'' if is_one else 's'} "
            f"{rounds} {'was' if is_one else 'were'} finished: it was compared with "
            f"{_label(standing.compared)}, not with {in_use}."
        )
    if word is not None and word.word != "promoted":
        return f"{word.sentence()} Only a person puts it in use again."
    if standing.current is None or standing.current.id in standing.may_replace:
        return None
    return (
        f"{_label(standing.current)} is in use by now, and it was compared with "
        f"{_label(standing.compared)}."
    )


def _finished(refs: Mapping[str, str], project: str) -> set[int]:
    """Rounds of a project that were finished."""
    found: set[int] = set()
    for ref in refs:
        own, _, name = ref.rpartition("/")
        number = name.removeprefix("round-").removesuffix("-policy")
        if own == project and name.startswith("round-") and number.isdecimal():
            found.add(int(number))
    return found


def _policies(store: Store, project: str, last_round: int) -> frozenset[str]:
    """Everything that rounds 1 to ``last_round`` have ever ended with, by id."""
    moves = [
        move
        for k in range(1, last_round + 1)
        for move in store.ref_history(f"{project}/round-{k}-policy")
    ]
    return frozenset(move.id for move in moves)


def _label(artifact: Artifact) -> str:
    return f"{artifact.name}-{artifact.id[:8]}"


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
