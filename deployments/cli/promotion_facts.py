"""What is known of a project's policies: which are new, how they did, what people said."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from recap_core.config.gate import GateConfig, GateDecision, written_gate
from recap_core.errors import ArtifactNotFoundError, ConfigError
from recap_core.lineage.artifacts import Artifact, Evaluation, OfflineCheck, PolicyCheckpoint
from recap_core.lineage.decisions import CANDIDATE, CURRENT, PersonsWord, decision_on, policy_at
from recap_core.lineage.iterations import iteration_records, records_among
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store
from recap_core.stages.evaluate import is_stopped_early

NOT_EVALUATED = "This policy has not been evaluated: nobody knows how often it succeeds."


class Candidate(NamedTuple):
    """A policy that a round has made."""

    policy: PolicyCheckpoint
    made_at: datetime
    round_index: int | None
    verdict: str | None
    """The gate's, when its round ended; None: no round's record."""
    reasons: tuple[str, ...]
    word: PersonsWord | None
    """What was decided last."""
    evaluation: Evaluation | None
    """The one that a promotion would rest on."""
    is_stopped_early: bool
    """Whether that one's number of episodes was not fixed beforehand."""
    offline: OfflineCheck | None
    """The newest one."""
    is_current: bool
    is_candidate: bool
    """Whether the project's ref ``candidate`` points to it."""


def project_named(store: Store, project: str | None) -> str:
    """``project/robot``; a store with one project needs no name.

    Raises:
        ConfigError: If there is no such project, or several and none is named.
    """
    found = sorted({ref.rpartition("/")[0] for ref in store.refs() if _is_of_project(ref)})
    if project is not None:
        matching = [name for name in found if project in {name, name.partition("/")[0]}]
        if len(matching) == 1:
            return matching[0]
        known = ", ".join(found) or "none yet"
        raise ConfigError(f"no project {project!r} in {store.home}; there are: {known}")
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(
            f"no project in {store.home} has a policy yet: run recap demo or recap iterate first, "
            "or set RECAP_HOME"
        )
    raise ConfigError(f"say which project with --project; there are: {', '.join(found)}")


def _is_of_project(ref: str) -> bool:
    return ref.rpartition("/")[2] in {CURRENT, CANDIDATE}


def candidates(store: Store, project: str) -> list[Candidate]:
    """The policies of a project's rounds, newest first, and whatever is ``candidate``."""
    manifests = list(store.artifacts())
    by_id = {manifest.id: manifest for manifest in manifests}
    name, robot = project.split("/")
    refs = store.refs()
    current, candidate = refs.get(f"{project}/{CURRENT}"), refs.get(f"{project}/{CANDIDATE}")
    rounds = {
        policy: record
        for record in records_among(manifests, name, robot)
        if (policy := record.id("policy")) in by_id
    }
    evaluations, checks = _by_policy(manifests, Evaluation), _by_policy(manifests, OfflineCheck)
    of_current = evaluations.get(current or "", [])
    found: list[Candidate] = []
    for identity in {*rounds, candidate} - {None}:
        manifest = by_id.get(identity or "")
        policy = manifest.artifact() if manifest else None
        if manifest is None or not isinstance(policy, PolicyCheckpoint):
            continue
        record = rounds.get(identity)
        theirs = evaluations.get(policy.id, [])
        chosen = _chosen(store, theirs, of_current, GateConfig(), offline=None)
        evaluation = chosen.new if chosen else None
        found.append(
            Candidate(
                policy=policy,
                made_at=manifest.finished_at,
                round_index=record.artifact.round_index if record else None,
                verdict=record.artifact.verdict if record else None,
                reasons=record.artifact.reasons if record else (),
                word=decision_on(store, project, policy),
                evaluation=evaluation,
                is_stopped_early=evaluation is not None and is_stopped_early(evaluation, store),
                offline=next(iter(checks.get(policy.id, [])), None),
                is_current=policy.id == current,
                is_candidate=policy.id == candidate,
            )
        )
    return sorted(found, key=lambda each: each.made_at, reverse=True)


def _by_policy[A: Artifact](manifests: Iterable[Manifest], kind: type[A]) -> dict[str, list[A]]:
    """The artifacts of a kind by the policy that they are about, newest first."""
    wanted, found = kind.model_fields["kind"].default, dict[str, list[A]]()
    for manifest in manifests:  # oldest first
        artifact = manifest.artifact() if manifest.kind == wanted else None
        of = [parent.id for parent in manifest.parents if parent.role == "policy"]
        if isinstance(artifact, kind) and of:
            found.setdefault(of[0], []).insert(0, artifact)
    return found


def newest_check(store: Store, policy: PolicyCheckpoint) -> OfflineCheck | None:
    """The newest check of a policy without a robot; None: there was none."""
    return next(iter(_by_policy(store.artifacts(), OfflineCheck).get(policy.id, [])), None)


class _Comparison(NamedTuple):
    """An evaluation of a policy against one of the policy in use."""

    new: Evaluation
    current: Evaluation | None
    decision: GateDecision

    @property
    def size(self) -> tuple[bool, int]:
        """Equal seeds before all others, then by the episodes that both have."""
        overall = self.decision.overall
        if overall is None or self.current is None:
            return False, 0
        return overall.is_paired, min(overall.num_episodes, self.current.num_episodes)


def compare_with_current(
    store: Store, project: str, policy: PolicyCheckpoint, config: GateConfig
) -> GateDecision | None:
    """The gate's word on a policy against the one in use.

    Of the evaluations of both that can be compared, the newest ones say who evaluated (a simulator,
    or an operator) and under which settings, and the largest ones of that kind decide: an
    evaluation that was stopped early does not hide the one with more episodes.

    Returns:
        None if the policy has no evaluation.
    """
    evaluations = _by_policy(store.artifacts(), Evaluation)
    theirs = evaluations.get(policy.id, [])
    of_current = evaluations.get(store.refs().get(f"{project}/{CURRENT}") or "", [])
    offline = newest_check(store, policy)
    found = _chosen(store, theirs, of_current, config, offline=offline)
    return found.decision if found else None


def _chosen(
    store: Store,
    theirs: Sequence[Evaluation],
    of_current: Sequence[Evaluation],
    config: GateConfig,
    *,
    offline: OfflineCheck | None,
) -> _Comparison | None:
    """The comparison that a promotion rests on; None without an evaluation. Newest first, both."""
    from recap_core.stages.judge import conditions_of, judge

    if not theirs:
        return None
    found = [
        _Comparison(new, before, judge(before, new, config, offline=offline, store=store))
        for new in theirs
        for before in of_current or [None]
    ]
    comparable = [each for each in found if each.decision.overall is not None]
    if not comparable:
        return found[0]
    conditions = conditions_of(comparable[0].new, store)
    alike = [each for each in comparable if conditions_of(each.new, store) == conditions]
    return max(alike, key=lambda each: each.size)  # the newest of equals


def candidate_of(store: Store, project: str) -> PolicyCheckpoint:
    """What ``candidate`` points to.

    Raises:
        ArtifactNotFoundError: If there is no candidate.
    """
    found = store.get_ref(f"{project}/{CANDIDATE}")
    if not isinstance(found, PolicyCheckpoint):
        raise ArtifactNotFoundError(
            f"{project} has no candidate: no new policy waits for a person's word. Name a policy "
            f"(recap candidates --project {project} lists them), or run recap iterate"
        )
    return found


def policy_named(store: Store, project: str, name: str) -> PolicyCheckpoint:
    """A policy by the project's own ref, such as ``round-3-policy``, or by any other name.

    Raises:
        ArtifactNotFoundError: If there is none.
        IncompatibleError: If it is no policy.
    """
    own = f"{project}/{name}"
    is_own = "/" not in name and own in store.refs()
    try:
        return policy_at(store, own if is_own else name)
    except ArtifactNotFoundError as error:
        raise ArtifactNotFoundError(
            f"{error}. See the policies with: recap candidates --project {project}"
        ) from error


def gate_of(store: Store, project: str) -> GateConfig:
    """The gate of the project's last round; the default one where none is written down."""
    records = iteration_records(store, *project.split("/"))
    return written_gate(records[-1].record(store).settings if records else {})


def check_text(check: OfflineCheck) -> str:
    """``failed range, seen in training``."""
    checks = f"failed {', '.join(check.failed)}" if check.failed else "all passed"
    return checks + (", seen in training" if check.seen_in_training else "")
