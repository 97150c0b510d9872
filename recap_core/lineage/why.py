"""Why a stage was reused, or ran anew: its key parts, against those of the nearest earlier result.

A result is reused exactly as long as all of these stay the same: the stage and its version, its
semantic settings, and the ids of its inputs. Whatever differs is said in those terms; an input that
is another artifact than before is explained in the same way, down to recordings.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from recap_core.lineage.iterations import records_among
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.store import Store
from recap_core.lineage.tombstones import Tombstone

_ENDS = ("recording", "annotations")
"""Kinds whose origin explains nothing: the policy that collected a recording is a round before."""
_CONTROLS = ("control", "control_policy")
DEFAULT = "its default"
"""Stands for the value of a setting that was not given."""

type Expand = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Settings of a stage with every default written out; those given, if the stage is not known."""


class Input(BaseModel):
    """One input of a stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    id: str
    label: str
    """``<name>-<id8>``, as far as it is known."""


class KeyParts(BaseModel):
    """What decides whether a result is reused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    stage: str
    version: int
    settings: dict[str, Any]
    """Semantic settings that are no defaults, by dotted name."""
    inputs: tuple[Input, ...]
    full: dict[str, Any] = Field(default={}, exclude=True, repr=False)
    """All settings, as far as the defaults are known."""

    def value(self, name: str) -> object:
        """A setting's value."""
        return self.settings.get(name, self.full.get(name, DEFAULT))


class Difference(BaseModel):
    """One thing that is not as it was."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    what: Literal["version", "setting", "input", "content", "removed", "code"]
    subject: str
    """Name of the setting, role of the input."""
    before: Any = None
    after: Any = None
    because: tuple["Difference", ...] = ()
    """Why an input is another one."""
    is_told: bool = False
    """That input's difference has been explained already."""


class Nearest(BaseModel):
    """The earlier result that differs least."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    label: str
    finished_at: AwareDatetime
    is_removed: bool


class Why(BaseModel):
    """Why one result is what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    label: str
    id: str | None
    """None: it does not exist yet."""
    key: str | None
    parts: KeyParts
    nearest: Nearest | None
    """None: nothing like it was made before."""
    differences: tuple[Difference, ...]


class Planned(NamedTuple):
    """A stage as it would run."""

    name: str
    parts: KeyParts
    key: str | None
    """None: not known before its inputs are made."""
    project: str | None
    """``project/robot``."""


class History:
    """Every result that a store knows of, also those that were removed.

    Args:
        manifests: Of artifacts that are there.
        removed: Of those that are not.
        expand: Writes defaults out.
    """

    def __init__(
        self,
        manifests: list[Manifest],
        removed: list[Tombstone],
        *,
        expand: Expand | None = None,
    ) -> None:
        self.stones = {stone.manifest.id: stone for stone in removed}
        gone = {id_: stone.manifest for id_, stone in self.stones.items()}
        self.manifests: dict[str, Manifest] = gone | {m.id: m for m in manifests}
        self._expand = expand or _as_given
        self._projects: dict[str, str] = {}
        self._controls: set[str] = set()
        self._parts: dict[str, KeyParts] = {}
        self._labels: dict[str, str] = {}
        for record in records_among(manifests):
            for parent in record.manifest.parents:
                owner = f"{record.artifact.project}/{record.artifact.robot}"
                self._projects.setdefault(parent.id, owner)
                if parent.role in _CONTROLS:
                    self._controls.add(parent.id)

    @classmethod
    def of(cls, store: Store, *, expand: Expand | None = None) -> "History":
        """The history of a store."""
        return cls(list(store.artifacts()), store.removed(), expand=expand)

    def expect(self, id_: str, parts: KeyParts, label: str) -> None:
        """Let an artifact that does not exist yet be explained as an input."""
        self._parts[id_] = parts
        self._labels[id_] = label

    def key_parts(
        self, stage: str, version: int, config: dict[str, Any], inputs: Iterable[Input]
    ) -> KeyParts:
        """Key parts, with every default that is known."""
        return KeyParts(
            stage=stage,
            version=version,
            settings=dict(flat(config)),
            inputs=tuple(inputs),
            full=dict(flat(self._expand(stage, config))),
        )

    def parts(self, id_: str) -> KeyParts | None:
        """Key parts of an artifact; None if nothing is known of it."""
        manifest = self.manifests.get(id_)
        if manifest is not None and id_ not in self._parts:
            self._parts[id_] = self.key_parts(
                manifest.stage,
                manifest.stage_version,
                manifest.config,
                [Input(role=p.role, id=p.id, label=self.label(p.id)) for p in manifest.parents],
            )
        return self._parts.get(id_)

    def label(self, id_: str) -> str:
        """``<name>-<id8>``, or the first digits of an id that is not known."""
        manifest = self.manifests.get(id_)
        return f"{manifest.name}-{id_[:8]}" if manifest else self._labels.get(id_, id_[:8])

    def is_end(self, id_: str) -> bool:
        """Whether an artifact's origin explains nothing."""
        manifest = self.manifests.get(id_)
        return manifest is not None and manifest.kind in _ENDS

    def project(self, id_: str) -> str | None:
        """``project/robot`` of a finished round that an artifact is part of."""
        return self._projects.get(id_)

    def is_control(self, id_: str) -> bool:
        """Whether a round made an artifact only to compare its own with."""
        return id_ in self._controls


def why_made(history: History, manifest: Manifest) -> Why:
    """Why an artifact that exists, or was removed, was made instead of an earlier one reused."""
    parts = history.parts(manifest.id)
    assert parts is not None  # noqa: S101 - its manifest is given
    planned = Planned(manifest.name, parts, manifest.stage_key, history.project(manifest.id))
    nearest = _nearest(history, planned, before=(manifest.finished_at, manifest.id))
    return Why(
        label=history.label(manifest.id),
        id=manifest.id,
        key=manifest.stage_key,
        parts=parts,
        nearest=nearest and _name(history, nearest),
        differences=_against(history, parts, nearest, own_id=manifest.id),
    )


def why_run(history: History, planned: Planned) -> Why:
    """Why a stage that is yet to run does not find its result."""
    nearest = _nearest(history, planned, before=None)
    return Why(
        label=planned.name,
        id=None,
        key=planned.key,
        parts=planned.parts,
        nearest=nearest and _name(history, nearest),
        differences=_against(history, planned.parts, nearest, own_id=None),
    )


def _as_given(stage: str, settings: dict[str, Any]) -> dict[str, Any]:
    del stage
    return settings


def flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name; lists are values."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")  # pyright: ignore[reportUnknownArgumentType] - JSON
        else:
            yield f"{prefix}{name}", value


def _nearest(
    history: History, planned: Planned, *, before: tuple[datetime, str] | None
) -> Manifest | None:
    """Same stage, of the same kind of name and project, fewest differences; then newest."""

    def distance(manifest: Manifest) -> tuple[bool, bool, int, float]:
        theirs = history.parts(manifest.id)
        assert theirs is not None  # noqa: S101 - it is among the manifests
        return (
            planned.project is not None and history.project(manifest.id) != planned.project,
            _pattern(manifest.name) != _pattern(planned.name),
            _num_differences(theirs, planned.parts),
            -manifest.finished_at.timestamp(),
        )

    candidates = [
        manifest
        for manifest in history.manifests.values()
        if manifest.stage == planned.parts.stage
        and (before is None or (manifest.finished_at, manifest.id) < before)
    ]
    return min(candidates, key=distance, default=None)


def _pattern(name: str) -> str:
    """A name without its numbers: ``round-7`` is to round 7 what ``round-6`` is to round 6."""
    return re.sub(r"\d+", "#", name)


def _against(
    history: History, parts: KeyParts, nearest: Manifest | None, *, own_id: str | None
) -> tuple[Difference, ...]:
    if nearest is None:
        return ()
    theirs = history.parts(nearest.id)
    assert theirs is not None  # noqa: S101 - it is among the manifests
    found = _differences(history, theirs, parts, told=set())
    if found:
        return found
    stone = history.stones.get(nearest.id)
    if stone is not None:
        when = f"{stone.removed_at:%Y-%m-%d %H:%M %Z}"
        return (Difference(what="removed", subject=stone.reason, before=when),)
    if own_id is not None:
        return _other_content(history, nearest.id, own_id)
    return ()


def _num_differences(before: KeyParts, after: KeyParts) -> int:
    """How many can be seen without following inputs."""
    old, new = ({(i.role, i.id) for i in parts.inputs} for parts in (before, after))
    return len(list(_own_differences(before, after))) + len(old ^ new)


def _differences(
    history: History, before: KeyParts, after: KeyParts, *, told: set[tuple[str, str]]
) -> tuple[Difference, ...]:
    found = list(_own_differences(before, after))
    roles = dict.fromkeys(i.role for i in (*before.inputs, *after.inputs))
    for role in roles:
        old = [i for i in before.inputs if i.role == role]
        new = [i for i in after.inputs if i.role == role]
        found += _changed_inputs(history, role, (old, new), told)
    return tuple(found)


def _own_differences(before: KeyParts, after: KeyParts) -> Iterator[Difference]:
    if before.version != after.version:
        yield Difference(
            what="version", subject=after.stage, before=before.version, after=after.version
        )
    for name in sorted({*before.settings, *after.settings}):
        old, new = before.value(name), after.value(name)
        if old != new:
            yield Difference(what="setting", subject=name, before=old, after=new)


def _changed_inputs(
    history: History,
    role: str,
    lists: tuple[list[Input], list[Input]],
    told: set[tuple[str, str]],
) -> Iterator[Difference]:
    common = {i.id for i in lists[0]} & {i.id for i in lists[1]}
    old = [i for i in lists[0] if i.id not in common]
    new = [i for i in lists[1] if i.id not in common]
    if not old and not new and [i.id for i in lists[0]] != [i.id for i in lists[1]]:
        yield Difference(what="input", subject=role, before="one order", after="another order")
    for before, after in zip(old, new, strict=False):
        pair = (before.id, after.id)
        is_told = pair in told
        told.add(pair)
        yield Difference(
            what="input",
            subject=role,
            before=before.label,
            after=after.label,
            because=() if is_told else _compared(history, before.id, after.id, told),
            is_told=is_told,
        )
    for before in old[len(new) :]:
        yield Difference(what="input", subject=role, before=before.label)
    for after in new[len(old) :]:
        yield Difference(what="input", subject=role, after=after.label)


def _compared(
    history: History, before: str, after: str, told: set[tuple[str, str]]
) -> tuple[Difference, ...]:
    """Why one artifact is not the other; nothing if that is not known, or says nothing."""
    old, new = history.parts(before), history.parts(after)
    if old is None or new is None or old.stage != new.stage:
        return ()
    if history.is_end(after):
        return tuple(_own_differences(old, new))
    return _differences(history, old, new, told=told) or _other_content(history, before, after)


def _other_content(history: History, before: str, after: str) -> tuple[Difference, ...]:
    """The same key parts gave something else: made by other code, or not reproducible."""
    old, new = history.manifests.get(before), history.manifests.get(after)
    if old is None or new is None:
        return ()
    content = Difference(what="content", subject=new.stage, before=old.digest, after=new.digest)
    if old.code_version == new.code_version:
        return (content,)
    code = Difference(what="code", subject="recap", before=old.code_version, after=new.code_version)
    return (content, code)


def _name(history: History, manifest: Manifest) -> Nearest:
    return Nearest(
        id=manifest.id,
        label=history.label(manifest.id),
        finished_at=manifest.finished_at,
        is_removed=manifest.id in history.stones,
    )
