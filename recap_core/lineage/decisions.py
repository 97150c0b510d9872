"""What people decide about policies: promoted, rejected, rolled back; who, when and why.

A decision is a move of a ref, so the ref's history keeps it, and every process that shares the
store sees it: ``<project>/<robot>/current`` is the policy in use, ``rejected`` the policy that was
turned down last.
"""

import getpass
import hashlib
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Literal, NamedTuple

from recap_core.errors import ArtifactError, ArtifactNotFoundError, IncompatibleError
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.layout import Layout
from recap_core.lineage.locks import claim
from recap_core.lineage.refs import RefChange
from recap_core.lineage.store import Store

CURRENT, CANDIDATE, REJECTED = "current", "candidate", "rejected"

_LOCK_TIMEOUT_S = 30.0


type Word = Literal["promoted", "rejected", "rolled back"]
"""``rolled back``: it was in use, and the policy before it was put back."""


class PersonsWord(NamedTuple):
    """What was decided about one policy last."""

    word: Word
    at: datetime
    by: str | None
    note: str | None

    def sentence(self) -> str:
        """Such as: Promoted by ana on 2026-11-26 14:05 UTC: "drops no cube"."""
        who = f" by {self.by}" if self.by else ""
        why = f': "{self.note}"' if self.note else ""
        return f"{self.word.capitalize()}{who} on {self.at:%Y-%m-%d %H:%M} UTC{why}."


def person() -> str:
    """The name of whoever runs this process, for ``by``; ``unknown`` where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def promote(  # noqa: PLR0913 - all but the first three by name
    store: Store,
    project: str,
    policy: PolicyCheckpoint,
    *,
    by: str | None,
    note: str | None = None,
    instead_of: Collection[str | None] | None = None,
) -> None:
    """Make a policy the one in use.

    Args:
        store: Where it is.
        project: ``project/robot``.
        policy: The policy.
        by: Who promotes it.
        note: Why.
        instead_of: Ids of the policies that it may take the place of, None among them where
            nothing need be in use; None alone: of any.

    Raises:
        RefMovedError: If another one is in use by now.
    """
    with _deciding(store, project):
        store.set_ref(f"{project}/{CURRENT}", policy, by=by, note=note, instead_of=instead_of)


def promote_unless_turned_down(
    store: Store, project: str, policy: PolicyCheckpoint, *, instead_of: Collection[str | None]
) -> bool:
    """Put a policy in use that the gate has passed, unless a person has said no to it.

    Args:
        store: Where it is.
        project: ``project/robot``.
        policy: The policy.
        instead_of: As for :func:`promote`.

    Returns:
        Whether it is in use.

    Raises:
        RefMovedError: If another one is in use by now.
    """
    with _deciding(store, project):
        word = decision_on(store, project, policy)
        if word is not None and word.word != "promoted":
            return False
        store.set_ref(f"{project}/{CURRENT}", policy, instead_of=instead_of)
        return True


def reject(
    store: Store, project: str, policy: PolicyCheckpoint, *, by: str | None, note: str | None = None
) -> None:
    """Turn a policy down; the one in use stays.

    Raises:
        ArtifactError: If it is in use: roll back first.
    """
    with _deciding(store, project):
        refs = store.refs()
        if refs.get(f"{project}/{CURRENT}") == policy.id:
            raise ArtifactError(
                f"{policy.name}-{policy.id[:8]} is {project}/{CURRENT}, so it cannot be rejected; "
                f"roll back first: recap rollback --project {project}"
            )
        word = decision_on(store, project, policy)
        was_rejected = refs.get(f"{project}/{REJECTED}") == policy.id
        if was_rejected and word is not None and word.word != "rejected":
            store.remove_ref(f"{project}/{REJECTED}")  # so that it is said anew
        store.set_ref(f"{project}/{REJECTED}", policy, by=by, note=note)


def rollback(
    store: Store,
    project: str,
    *,
    to: PolicyCheckpoint | None = None,
    by: str | None,
    note: str | None = None,
) -> tuple[PolicyCheckpoint, PolicyCheckpoint]:
    """Put an earlier policy back in use.

    Args:
        store: Where it is.
        project: ``project/robot``.
        to: The policy; None: the one that was in use before this one.
        by: Who rolls back.
        note: Why.

    Returns:
        The policy that was in use, and the one that is now.

    Raises:
        ArtifactNotFoundError: If nothing is in use, or nothing was before.
        RefMovedError: If another process has moved ``current`` meanwhile.
    """
    now = policy_at(store, f"{project}/{CURRENT}")
    before = to or _earlier(store, project, now)
    store.set_ref(
        f"{project}/{CURRENT}", before, by=by, note=note, is_rollback=True, instead_of={now.id}
    )
    return now, before


def policy_at(store: Store, ref: str) -> PolicyCheckpoint:
    """The policy that a ref, an id or a name stands for.

    Raises:
        ArtifactNotFoundError: If there is none.
        IncompatibleError: If it is something else than a policy.
    """
    artifact = store.get(ref)
    if not isinstance(artifact, PolicyCheckpoint):
        raise IncompatibleError(
            f"{ref} is the {artifact.kind.replace('_', ' ')} {artifact.name}-{artifact.id[:8]}, "
            "not a policy. See the policies with: recap candidates"
        )
    return artifact


def decision_on(store: Store, project: str, policy: PolicyCheckpoint) -> PersonsWord | None:
    """What was decided about a policy last; None: nothing yet."""
    said: list[tuple[Word, RefChange]] = []
    for change in store.ref_history(f"{project}/{CURRENT}"):
        if change.id == policy.id:
            said.append(("promoted", change))
        elif change.previous == policy.id and change.is_rollback:
            said.append(("rolled back", change))
    words = [PersonsWord(word, change.at, change.by, change.note) for word, change in said]
    words += [
        PersonsWord("rejected", change.at, change.by, change.note)
        for change in store.ref_history(f"{project}/{REJECTED}")
        if change.id == policy.id
    ]
    return max(words, key=lambda each: each.at, default=None)


@contextmanager
def _deciding(store: Store, project: str) -> Generator[None]:
    """One at a time in a project: who turns a policy down and who puts it in use see each other."""
    name = hashlib.blake2b(project.encode(), digest_size=12).hexdigest()
    lock = Layout(store.home).lock(f"decision-{name}")
    with claim(lock, timeout_s=_LOCK_TIMEOUT_S, subject=f"a decision on a policy of {project}"):
        yield


def _earlier(store: Store, project: str, now: PolicyCheckpoint) -> PolicyCheckpoint:
    """What was in use before the policy that is now; rolling back twice goes back two steps."""
    for identity in _before(store.ref_history(f"{project}/{CURRENT}")):
        if identity == now.id:
            continue
        try:
            return policy_at(store, identity)
        except ArtifactNotFoundError:
            continue  # removed since
    raise ArtifactNotFoundError(
        f"{project}/{CURRENT} was no other policy before that is still in the store; name one "
        "with --to (see recap candidates)"
    )


def _before(history: list[RefChange]) -> Iterator[str]:
    """Ids in use before, the last one first, without those that were rolled back from."""
    trail: list[str] = []
    for change in history:
        if change.is_rollback and change.id in trail:
            del trail[len(trail) - 1 - trail[::-1].index(change.id) :]
        trail.append(change.id)
    yield from reversed(trail[:-1])
