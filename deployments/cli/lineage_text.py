"""``recap lineage``: text for people, JSON for programs."""

import json as json_format
import sys

import yaml

from recap_core.config.environment import recap_home
from recap_core.lineage.ancestry import Graph, ancestors, explain, lineage_graph
from recap_core.lineage.rendering import render_mermaid, render_text
from recap_core.lineage.store import Store

_NOT_FACTS = {"config", "details", "metrics", "parents", "children", "libraries", "refs"}


def show(reference: str, *, json: bool) -> None:
    """Print one artifact and what it was made from."""
    store = Store(recap_home())
    artifact = store.get(reference)
    facts = explain(store, artifact)
    if json:
        facts["ancestors"] = [manifest.id for manifest in ancestors(store, artifact)]
        _print(json_format.dumps(facts, indent=2))
        return
    lines = [f"{artifact.kind} {artifact.name}-{artifact.id[:8]}"]
    lines += [f"  {name}: {value}" for name, value in facts.items() if name not in _NOT_FACTS]
    for title in ("refs", "details", "metrics", "config"):
        lines += _section(title, facts[title])
    _print("\n".join(lines))
    _print("\nmade from")
    _print(render_text(lineage_graph(store, artifact), root=artifact.id))
    if facts["children"]:
        _print("\nled to")
        for child in facts["children"]:
            _print(f"  {child['kind']} {child['name']}-{child['id'][:8]} (as {child['role']})")


def graph(reference: str | None, *, mermaid: bool, json: bool) -> None:
    """Print the lineage around one artifact, or of the whole store."""
    store = Store(recap_home())
    found: Graph = lineage_graph(store, None if reference is None else store.get(reference))
    if json:
        _print(json_format.dumps(found.model_dump(mode="json"), indent=2))
    elif mermaid:
        _print(render_mermaid(found))
    else:
        _print(render_text(found) or f"no artifacts in {store.home}")


def _section(title: str, content: dict[str, object] | list[str]) -> list[str]:
    if not content:
        return []
    if isinstance(content, list):
        return [f"  {title}: {', '.join(content)}"]
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=96)
    return [f"  {title}:", *(f"    {line}" for line in text.splitlines())]


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
