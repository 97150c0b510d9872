"""What is known of a project's policies: which are new, how they did, what people said."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from recap_core.config.gate import GateConfig, GateDecision, written_gate
from recap_core.errors import ArtifactNotFoundError, ConfigError
from recap_core.lineage.artifacts import Evaluation, OfflineCheck, PolicyCheckpoint
from recap_core.lineage.decisions import CANDIDATE, CURRENT, PersonsWord, decision_on, policy_at
from recap_core.lineage.iterations import iteration_records, records_among
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store

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
    """The newest one."""
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
    evaluations, checks = _newest(manifests, "evaluation"), _newest(manifests, "offline_check")
    found: list[Candidate] = []
    for identity in {*rounds, candidate} - {None}:
        manifest = by_id.get(identity or "")
        policy = manifest.artifact() if manifest else None
        if manifest is None or not isinstance(policy, PolicyCheckpoint):
            continue
        record = rounds.get(identity)
        evaluation, check = evaluations.get(policy.id), checks.get(policy.id)
        found.append(
            Candidate(
                policy=policy,
                made_at=manifest.finished_at,
                round_index=record.artifact.round_index if record else None,
                verdict=record.artifact.verdict if record else None,
                reasons=record.artifact.reasons if record else (),
                word=decision_on(store, project, policy),
                evaluation=evaluation if isinstance(evaluation, Evaluation) else None,
                offline=check if isinstance(check, OfflineCheck) else None,
                is_current=policy.id == current,
                is_candidate=policy.id == candidate,
            )
        )
    return sorted(found, key=lambda each: each.made_at, reverse=True)


def _newest(manifests: Iterable[Manifest], kind: str) -> dict[str, object]:
    """The newest artifact of a kind by the policy that it is about."""
    newest: dict[str, object] = {}
    for manifest in manifests:  # oldest first
        if manifest.kind == kind:
            of = [parent.id for parent in manifest.parents if parent.role == "policy"]
            newest |= dict.fromkeys(of, manifest.artifact())
    return newest


def compare_with_current(
    store: Store, project: str, policy: PolicyCheckpoint, config: GateConfig
) -> GateDecision | None:
    """The gate's word on a policy against the one in use.

    Of the evaluations of both that can be compared, the newest ones say who evaluated (a simulator,
    or an operator), and the largest ones of that kind decide: an evaluation that was stopped early
    does not hide the one with more episodes.

    Returns:
        None if the policy has no evaluation.
    """
    from recap_core.stages.judge import judge

    current = store.refs().get(f"{project}/{CURRENT}")
    evaluations: dict[str, list[Evaluation]] = {}
    offline: OfflineCheck | None = None
    for manifest in store.artifacts():
        artifact = manifest.artifact() if manifest.kind in {"evaluation", "offline_check"} else None
        of = [parent.id for parent in manifest.parents if parent.role == "policy"]
        if isinstance(artifact, Evaluation) and of:
            evaluations.setdefault(of[0], []).insert(0, artifact)
        elif isinstance(artifact, OfflineCheck) and policy.id in of:
            offline = artifact
    theirs = evaluations.get(policy.id, [])
    if not theirs:
        return None
    decisions = [
        (store.manifest(new).stage, judge(before, new, config, offline=offline, store=store))
        for new in theirs
        for before in evaluations.get(current or "", [None])
    ]
    comparable = [each for each in decisions if each[1].overall is not None]
    if not comparable:
        return decisions[0][1]
    newest_stage = comparable[0][0]
    return max(
        (decision for stage, decision in comparable if stage == newest_stage), key=_num_episodes
    )


def _num_episodes(decision: GateDecision) -> tuple[bool, int]:
    """On the same seeds before all others."""
    overall = decision.overall
    return (overall.is_paired, overall.num_episodes) if overall else (False, 0)


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
