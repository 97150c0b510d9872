"""Which artifacts of a store are kept, and why.

A round that is kept whole keeps every part of its record and whatever those were made from, so that
running it again finds every stage. An older round keeps its record and those parts that cannot be
made again or that people go on asking about; see :data:`DROPPED_ROLES`. What something was made
from is followed up to recordings and annotations: they are kept themselves, but not the policies
that collected them.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from graphlib import TopologicalSorter
from typing import NamedTuple

from recap_core.config.retention import RetentionConfig
from recap_core.lineage.iterations import IterationRecord, records_among
from recap_core.lineage.manifest import Manifest

DROPPED_ROLES = ("merged", "copy", "relabeled", "control_policy")
"""Parts of an older round that its other parts can be made into again."""
GIVEN_ROLES = ("start", "collector")
"""Parts that a round took: kept with it, but not what they were made from."""
ORIGINALS = ("recording", "annotations", "evaluation", "iteration")
"""Kinds that no stage can make again: people, robots and time had a part in them."""
JUDGEMENTS = ("evaluation", "offline_check")
"""Kinds that say how good a policy is."""
IMPORTS = ("import_dataset", "import_policy", "import_value", "import_labels", "load_norm_stats")
"""Stages whose sources lie outside the store."""
RECENT = "used within"
"""How the reason begins where nothing else keeps an artifact."""
_ENDS = ("recording", "annotations")
_ROUND_REF = re.compile(r"(?P<owner>[^/]+/[^/]+)/round-(?P<index>\d+)(?:-(?P<part>.+))?")


class RoundRef(NamedTuple):
    """A ref ``<project>/<robot>/round-<k>-<part>``."""

    owner: str
    round_index: int
    part: str | None


class Facts(NamedTuple):
    """What the decision rests on."""

    manifests: Mapping[str, Manifest]
    """Of every artifact, by id, oldest first."""
    refs: Mapping[str, str]
    """Artifact id by ref."""
    last_used: Mapping[str, datetime]
    """When an artifact was last made or asked for, by id."""
    in_use: Mapping[str, str]
    """Who works on it now, by id."""
    now: datetime
    ever_current: Collection[str] = ()
    """Policies that were ever in use, by id: a rollback may go back to them."""
    named: Mapping[str, str] = {}
    """What else names an artifact, such as a project's settings or a run that waits, by id."""
    removed: Collection[str] = ()
    """Ids of artifacts that were in the store once."""
    used_by_name: Mapping[str, datetime] = {}
    """When somebody last named an artifact to work with it, by id."""


class Decision(NamedTuple):
    """What becomes of every artifact."""

    keep: dict[str, str]
    """Why, by id."""
    remove: dict[str, str]
    """Why, by id; children before the artifacts they were made from."""
    retire: dict[str, str]
    """Refs to remove, with the id that each points to: it goes too, or went before."""


def decide(
    facts: Facts, config: RetentionConfig, *, projects: Collection[str] | None = None
) -> Decision:
    """What to keep and what to remove.

    Args:
        facts: About the store.
        config: The policy.
        projects: ``project/robot`` whose older rounds may lose parts; every round of others stays
            whole, and so does what belongs to none. None: all.
    """
    return _Decider(facts, config, projects).decide()


def needs(
    start: str,
    manifests: Mapping[str, Manifest],
    *,
    given: Collection[str] = (),
    seen: set[str] | None = None,
) -> list[str]:
    """``start`` and what it was made from, as far as it is in the store.

    Recordings, annotations and what is ``given`` are named, but not followed, and neither are
    records of other rounds: a report names the round before, which names all its parts. What has
    been ``seen`` before is left out, and the rest added to it.
    """
    seen = set() if seen is None else seen
    found: list[str] = []
    waiting = [start]
    while waiting:
        id_ = waiting.pop()
        manifest = manifests.get(id_)
        if id_ in seen or manifest is None:
            continue
        found.append(id_)
        if manifest.kind == "iteration" and id_ != start:
            continue  # not seen: somebody may yet start from it
        seen.add(id_)
        if manifest.kind not in _ENDS and id_ not in given:
            waiting += [parent.id for parent in manifest.parents]
    return found


def round_ref(ref: str) -> RoundRef | None:
    """The round that a ref belongs to; None if it belongs to none."""
    match = _ROUND_REF.fullmatch(ref)
    return match and RoundRef(match["owner"], int(match["index"]), match["part"])


class _Decider:
    """A decision while it is made."""

    def __init__(
        self, facts: Facts, config: RetentionConfig, projects: Collection[str] | None
    ) -> None:
        self._facts = facts
        self._config = config
        self._projects = projects
        self._keep: dict[str, str] = {}
        self._retire: dict[str, str] = {}
        self._held: set[str] = set()  # noted, and everything they need
        self._records = records_among(facts.manifests.values())
        self._whole = self._whole_rounds()
        self._in_rounds = {record.artifact.id for record in self._records}
        self._in_rounds |= {p.id for record in self._records for p in record.manifest.parents}

    def decide(self) -> Decision:
        """Roots first, so that the reason that is given is the most telling one."""
        for id_, who in self._facts.in_use.items():
            self._hold(id_, f"{who} works on it")
        self._keep_refs()
        for id_, who in self._facts.named.items():
            self._hold(id_, who, f"{who}, and needs it")
        for record in self._records:
            why = self._whole.get(record.artifact.id)
            if why is None:
                self._keep_older(record)
            else:
                self._keep_whole(record, why)
        self._keep_what_was_in_use()
        self._keep_originals()
        self._keep_recent()
        if self._projects is not None:
            for id_ in set(self._facts.manifests) - self._in_rounds:
                self._note(id_, "it belongs to no round of the projects that were named")
        doomed = [id_ for id_ in self._facts.manifests if id_ not in self._keep]
        remove = {id_: self._why_not(id_) for id_ in self._children_first(doomed)}
        here = self._facts.manifests
        retire = {ref: id_ for ref, id_ in self._retire.items() if id_ in remove or id_ not in here}
        return Decision(self._keep, remove, retire)

    def _whole_rounds(self) -> dict[str, str]:
        """Why a round is kept whole, by the id of its record."""
        newest: dict[str, dict[int, IterationRecord]] = defaultdict(dict)
        for record in self._records:  # in order, so that the last of a round is its newest
            newest[_owner(record)][record.artifact.round_index] = record
        whole: dict[str, str] = {}
        for owner, rounds in newest.items():
            chosen = sorted(rounds)[-self._config.keep_rounds :]
            is_named = self._projects is None or owner in self._projects
            for index, record in rounds.items():
                if not is_named:
                    whole[record.artifact.id] = f"{owner} was not named"
                elif index in chosen:
                    last = (
                        "the last round" if len(chosen) == 1 else f"the last {len(chosen)} rounds"
                    )
                    whole[record.artifact.id] = f"{last} of {owner} stay whole"
        by_policy = {record.id("policy"): record for record in self._records}
        for ref, id_ in self._facts.refs.items():
            record = by_policy.get(id_)
            if record is not None and round_ref(ref) is None:
                whole.setdefault(record.artifact.id, f"it made {ref}")
        return whole

    def _keep_refs(self) -> None:
        finished = {
            (_owner(record), record.artifact.round_index): record for record in self._records
        }
        older = {
            key: record for key, record in finished.items() if record.artifact.id not in self._whole
        }
        for ref, id_ in self._facts.refs.items():
            parsed = round_ref(ref)
            if parsed is None or (parsed.owner, parsed.round_index) not in finished:
                self._hold(id_, f"{ref} points to it", f"{ref} needs it")
                continue
            if parsed.part and id_ in self._facts.removed and id_ not in self._facts.manifests:
                self._retire[ref] = id_  # a collection was killed between the two
                continue
            record = older.get((parsed.owner, parsed.round_index))
            if record is not None and self._may_retire(parsed, id_, record):
                self._retire[ref] = id_
            else:
                self._note(id_, f"{ref} points to it")

    def _may_retire(self, ref: RoundRef, id_: str, record: IterationRecord) -> bool:
        if ref.part == "relabeled":
            return id_ == record.id("relabeled")
        return (
            ref.part == "policy" and id_ == record.id("policy") and not self._keeps_policy(record)
        )

    def _keeps_policy(self, record: IterationRecord) -> bool:
        return (
            self._config.older_policies == "all"
            or record.artifact.verdict == "promoted"
            or record.id("policy") in self._facts.ever_current
        )

    def _keep_whole(self, record: IterationRecord, why: str) -> None:
        given = {id_ for role in GIVEN_ROLES for id_ in record.ids(role)}
        seen: set[str] = set()
        name = f"{_owner(record)} round {record.artifact.round_index}"
        self._note(record.artifact.id, f"record of {name}")
        for parent in record.manifest.parents:
            self._note(parent.id, f"{parent.role} of {name}: {why}")
            for id_ in needs(parent.id, self._facts.manifests, given=given, seen=seen):
                self._note(id_, f"{name} needs it: {why}")

    def _keep_older(self, record: IterationRecord) -> None:
        dropped = set(DROPPED_ROLES)
        dropped |= set() if self._config.older_value_models else {"value_model"}
        dropped |= set() if self._config.older_values else {"values"}
        dropped |= set() if self._keeps_policy(record) else {"policy"}
        name = f"{_owner(record)} round {record.artifact.round_index}"
        self._note(record.artifact.id, f"record of {name}")
        for parent in record.manifest.parents:
            if parent.role not in dropped:
                self._note(parent.id, f"{parent.role} of {name}")

    def _keep_what_was_in_use(self) -> None:
        """Policies that a rollback may want, and what was found out about those that refs name."""
        for id_ in self._facts.ever_current:
            self._note(id_, "it was in use once, so a rollback may want it")
        named = {id_ for ref, id_ in self._facts.refs.items() if round_ref(ref) is None}
        for manifest in self._facts.manifests.values():
            judged = named.intersection(parent.id for parent in manifest.parents)
            if manifest.kind in JUDGEMENTS and judged:
                self._note(manifest.id, "it judges a policy that a ref points to")

    def _keep_originals(self) -> None:
        for manifest in self._facts.manifests.values():
            if manifest.kind == "iteration":
                self._note(manifest.id, "records of rounds stay")
            elif self._config.originals and manifest.kind in ORIGINALS:
                self._note(manifest.id, f"no stage can make a {manifest.kind} again")
            elif self._config.originals and manifest.stage in IMPORTS:
                self._note(manifest.id, "its source lies outside the store")
            elif self._config.originals and self._came_alone(manifest):
                self._note(manifest.id, "what it was made from never was in this store")

    def _came_alone(self, manifest: Manifest) -> bool:
        """Whether it came from another store, which alone can make it again."""
        return any(
            parent.id not in self._facts.manifests and parent.id not in self._facts.removed
            for parent in manifest.parents
        )

    def _keep_recent(self) -> None:
        recent = timedelta(hours=self._config.recent_hours)
        unused = timedelta(days=self._config.unused_days)
        for id_, used in self._facts.used_by_name.items():
            if self._facts.now - used < unused:
                self._note(id_, f"{RECENT} {self._config.unused_days:g} days, by its name")
        for id_ in self._facts.manifests:
            age = self._facts.now - self._facts.last_used[id_]
            if age < recent:
                self._hold(id_, f"{RECENT} {self._config.recent_hours:g} h")
            elif age < unused and id_ not in self._in_rounds:
                self._hold(id_, f"{RECENT} {self._config.unused_days:g} days, of no round")

    def _hold(self, id_: str, why: str, why_needed: str | None = None) -> None:
        """Keep an artifact and what it needs."""
        self._note(id_, why)
        name = self._facts.manifests[id_].name if id_ in self._facts.manifests else id_[:8]
        for needed in needs(id_, self._facts.manifests, seen=self._held):
            self._note(needed, why_needed or f"{name}-{id_[:8]} needs it: {why}")

    def _note(self, id_: str, why: str) -> None:
        if id_ in self._facts.manifests:
            self._keep.setdefault(id_, why)

    def _why_not(self, id_: str) -> str:
        for record in reversed(self._records):
            for parent in record.manifest.parents:
                if parent.id == id_:
                    index = record.artifact.round_index
                    return f"{parent.role} of {_owner(record)} round {index}, which is older"
        return f"no ref and no round needs it; not used for {self._config.unused_days:g} days"

    def _children_first(self, ids: Collection[str]) -> list[str]:
        children: dict[str, list[str]] = {id_: [] for id_ in ids}
        for id_ in ids:
            for parent in self._facts.manifests[id_].parents:
                if parent.id in children:
                    children[parent.id].append(id_)
        return list(TopologicalSorter(children).static_order())


def _owner(record: IterationRecord) -> str:
    return f"{record.artifact.project}/{record.artifact.robot}"
