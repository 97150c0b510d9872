"""What names artifacts without being a ref or an artifact: settings, runs that wait, histories."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from recap_core.config.overlay import read_settings
from recap_core.lineage.layout import Layout
from recap_core.lineage.manifest import Manifest
from recap_core.lineage.refs import Refs
from recap_core.lineage.waiting import all_waiting

_NAMED = re.compile(r"(?:(?P<name>[a-z0-9][a-z0-9._-]{0,63})-)?(?P<id>[0-9a-f]{6,32})")


def named_outside(layout: Layout, manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """Who else names an artifact, by its id.

    Any text in a project's settings that fits an artifact's id, the beginning of one, or
    ``<name>-<id8>`` counts, whatever the setting is called.

    Args:
        layout: Of the store.
        manifests: Of its artifacts, by id.

    Raises:
        ConfigError: If a project's settings cannot be read.
    """
    found: dict[str, str] = {}
    for path in sorted((layout.home / "projects").glob("*/*.yaml")):
        if path.name.startswith("."):
            continue
        project = f"{path.parent.name}/{path.stem}"
        for text in _texts(read_settings(path)):
            for id_ in _meant(text, manifests):
                found.setdefault(id_, f"the settings of {project} name it")
    for note in all_waiting(layout.home):
        if note.policy is not None:
            found.setdefault(note.policy, f"run {note.run_name} waits for a word on it")
    return found


def ever_current(layout: Layout) -> set[str]:
    """Ids of everything that any ``current`` ever pointed to, also one that was removed."""
    refs = Refs(layout)
    histories = sorted(layout.refs.glob("*/*/.history/current.jsonl"))
    owners = ["/".join(path.parts[-4:-2]) for path in histories]
    return {change.id for owner in owners for change in refs.history(f"{owner}/current")} - {""}


def _meant(text: str, manifests: Mapping[str, Manifest]) -> list[str]:
    match = _NAMED.fullmatch(text)
    if match is None:
        return []
    return [
        id_
        for id_, manifest in manifests.items()
        if id_.startswith(match["id"]) and match["name"] in {None, manifest.name}
    ]


def _texts(content: object) -> Iterator[str]:
    """Every text in nested settings."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping):
        for value in cast("Mapping[str, object]", content).values():
            yield from _texts(value)
    elif isinstance(content, list | tuple):
        for value in cast("Sequence[object]", content):
            yield from _texts(value)
