"""Lineage as data, text and mermaid."""

import re

import pytest
from lineage_toys import STATS, ToyConfig, make_report, make_stats, writes

from recap_core.lineage.ancestry import Graph, Node, ancestors, descendants, explain, lineage_graph
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.rendering import render_mermaid, render_text
from recap_core.lineage.store import Store


@pytest.fixture
def family(store: Store) -> dict[str, Artifact]:
    """A diamond: root -> (left, right) -> bottom, and a stranger."""
    root = make_stats(store, "root")
    left = make_report(store, "left", dataset=root)
    right = make_report(store, "right", dataset=root)
    bottom = make_report(store, "bottom", values=left, labels=right)
    stranger = make_stats(store, "stranger")
    return {
        "root": root, "left": left, "right": right, "bottom": bottom, "stranger": stranger
    }  # fmt: skip


def test_ancestors_and_descendants_of_a_diamond(store: Store, family: dict[str, Artifact]) -> None:
    """Each once, oldest first, without the artifact itself and without strangers."""
    up = [m.id for m in ancestors(store, family["bottom"])]
    down = [m.id for m in descendants(store, family["root"])]

    assert up == [family[name].id for name in ("root", "left", "right")]
    assert down == [family[name].id for name in ("left", "right", "bottom")]
    assert ancestors(store, family["stranger"]) == descendants(store, family["stranger"]) == []


def test_the_graph_of_an_artifact_holds_its_line(store: Store, family: dict[str, Artifact]) -> None:
    """Of ``left``: root and bottom, not its sibling; edges carry roles."""
    graph = lineage_graph(store, family["left"])

    assert [node.id for node in graph.nodes] == [family[n].id for n in ("root", "left", "bottom")]
    assert [(e.parent, e.child, e.role) for e in graph.edges] == [
        (family["root"].id, family["left"].id, "dataset"),
        (family["left"].id, family["bottom"].id, "values"),
    ]
    assert Graph.model_validate(graph.model_dump(mode="json")) == graph


def test_the_graph_of_a_store_holds_everything(store: Store, family: dict[str, Artifact]) -> None:
    """Five artifacts and four edges, and what was removed is marked."""
    assert len(lineage_graph(store).nodes) == 5
    store.remove(family["root"])

    graph = lineage_graph(store)

    assert len(graph.edges) == 4
    root = family["root"]
    assert graph.nodes[0] == Node(id=root.id, kind="removed", name=root.name, stage="toy_stats")
    assert f"removed {root.name}-{root.id[:8]}" in render_text(graph)


def test_the_lineage_goes_on_through_what_was_removed(
    store: Store, family: dict[str, Artifact]
) -> None:
    """Both ways: its manifest is still there. Without that, only its id is known."""
    store.remove(family["left"])
    store.remove(family["right"])

    assert ancestors(store, family["bottom"]) == [store.manifest(family["root"])]
    assert descendants(store, family["root"]) == [store.manifest(family["bottom"])]
    assert len(lineage_graph(store, family["bottom"]).edges) == 4
    for path in (store.home / "removed").iterdir():
        path.unlink()
    nodes = lineage_graph(store, family["bottom"]).nodes
    assert {node.label for node in nodes[:2]} == {family[name].id[:8] for name in ("left", "right")}


def without_facts(text: str) -> list[str]:
    """The lines of a drawing without ids, dates and metrics."""
    return [re.sub(r"-[0-9a-f]{8}(  toy_\w+, .*)?", "", line) for line in text.splitlines()]


def test_a_tree_of_parents(store: Store, family: dict[str, Artifact]) -> None:
    """The drawing, written out by hand."""
    text = render_text(lineage_graph(store, family["bottom"]))

    assert without_facts(text) == [
        "report bottom",
        "├── values: report left",
        "│   └── dataset: norm_stats stats",
        "└── labels: report right",
        "    └── dataset: norm_stats stats",
    ]


def test_a_tree_of_children_expands_an_artifact_once(
    store: Store, family: dict[str, Artifact]
) -> None:
    """``bottom`` has a child here; the second time, it is only mentioned."""
    make_report(store, "last", report=family["bottom"])

    text = render_text(lineage_graph(store), root=family["root"].id, towards="children")

    assert without_facts(text) == [
        "norm_stats stats",
        "├── dataset: report left",
        "│   └── values: report bottom",
        "│       └── report: report last",
        "└── dataset: report right",
        "    └── labels: report bottom  (expanded above)",
    ]


def test_a_line_tells_stage_time_and_metrics() -> None:
    """At most three metrics; None is a dash."""
    metrics = {"a": 0.123456, "b": None, "c": 3.0, "d": 4.0}
    made = {"started_at": "2026-01-02T03:04:00Z", "finished_at": "2026-01-02T05:06:07Z"}
    node = {"id": "0123456789", "kind": "report", "name": "r", "stage": "draw", "metrics": metrics}
    graph = Graph.model_validate({"nodes": [node | made], "edges": []})
    quick = {"started_at": "2026-01-02T03:04:00Z", "finished_at": "2026-01-02T03:04:01.5Z"}
    short = {"started_at": "2026-01-02T03:04:00Z", "finished_at": "2026-01-02T03:06:07Z"}

    assert render_text(graph) == (
        "report r-01234567  draw, 2026-01-02 05:06, 2 h 02 min  a=0.1235 b=- c=3"
    )
    for times, words in [(quick, "1.5 s"), (short, "2 min 07 s")]:
        assert words in render_text(Graph.model_validate({"nodes": [node | times], "edges": []}))


def test_a_mermaid_chart(store: Store, family: dict[str, Artifact]) -> None:
    """Nodes and labelled arrows, quotes escaped."""
    root, left = family["root"], family["left"]
    lines = render_mermaid(lineage_graph(store, left)).splitlines()

    assert lines[0] == "flowchart LR"
    assert f'    n{root.id}["norm_stats<br/>stats-{root.id[:8]}<br/>loss=0.5"]' in lines
    assert f'    n{left.id}["report<br/>left-{left.id[:8]}"]' in lines
    assert f'    n{root.id} -->|"dataset"| n{left.id}' in lines
    odd = Graph(nodes=(Node(id="1", kind='a"<#'),), edges=())
    assert render_mermaid(odd).splitlines()[1] == '    n1["a#quot;#lt;#35;<br/>1"]'


def test_explain_gathers_the_facts(store: Store, family: dict[str, Artifact]) -> None:
    """Manifest, relatives, refs and size, as plain JSON values."""
    store.set_ref("demo/aloha/current", family["left"])
    facts = explain(store, family["left"])

    assert facts["config"] == {"text": "left"}
    assert facts["refs"] == ["demo/aloha/current"]
    assert facts["parents"] == [
        {"role": "dataset", "id": family["root"].id, "kind": "norm_stats", "name": "stats"}
    ]
    assert facts["children"] == [
        {"role": "values", "id": family["bottom"].id, "kind": "report", "name": "bottom"}
    ]
    manifest_bytes = (store.path(family["left"]) / "artifact.json").stat().st_size
    assert facts["num_files"] == 2
    assert facts["size_bytes"] == facts["own_bytes"] == manifest_bytes + len("left")


def test_explain_names_a_removed_parent(store: Store, family: dict[str, Artifact]) -> None:
    """By its id and its name."""
    extra = store.produce(STATS, ToyConfig(), {"a": family["stranger"]}, name="x", build=writes())
    store.remove(family["stranger"])

    assert explain(store, extra)["parents"] == [
        {"role": "a", "id": family["stranger"].id, "kind": "removed", "name": "stats"}
    ]
