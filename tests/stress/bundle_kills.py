"""Kill an export, and an import, before every change it makes to the file system.

Run as a script in a process of its own, because it forks: ``bundle_kills.py DIRECTORY``, with
``tests/core/lineage`` on the path. Prints one JSON line: kills of each, and how many of them left
the work done.
"""

import json
import sys
from pathlib import Path

from kill_drill import killed_before_change
from lineage_toys import STATS, ToyConfig, copies, make_report, make_stats

from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.bundles import open_bundle
from recap_core.lineage.digests import tree_digest
from recap_core.lineage.files import remove_plain_tree
from recap_core.lineage.snapshot import Snapshot
from recap_core.lineage.store import Store
from recap_core.lineage.transfer import export_directory, import_bundle


def make_family(store: Store) -> list[Artifact]:
    """Three artifacts, the second of hard links to the first."""
    root = make_stats(store, "root")
    copy = store.produce(
        STATS, ToyConfig(text="copy"), {"dataset": root}, name="copy", build=copies(store, root)
    )
    return [root, copy, make_report(store, "page", dataset=copy)]


def kill_export(
    store: Store, family: list[Artifact], target: Path, number: int
) -> tuple[bool, bool]:
    """Whether it was killed, and whether the bundle was there; then do it again, and check."""

    def export() -> None:
        export_directory(Snapshot(store), family[-1:], target, with_ancestors=True)

    was_killed = killed_before_change(number, export)
    was_done = (target / "bundle.json").exists()
    if was_done:
        check_bundle(target, family)
    export()
    check_bundle(target, family)
    left = {path.name for path in target.iterdir()} - {"bundle.json", "artifacts"}
    assert not left, left
    return was_killed, was_done


def check_bundle(target: Path, family: list[Artifact]) -> None:
    """A bundle that can be seen is whole."""
    with open_bundle(target) as bundle:
        assert [entry.id for entry in bundle.index.artifacts] == [a.id for a in family]
        for entry in bundle.index.artifacts:
            assert bundle.problems(entry) == []
            assert tree_digest(target / entry.directory, None) == entry.digest


def kill_import(bundle: Path, family: list[Artifact], home: Path, number: int) -> tuple[bool, bool]:
    """Whether it was killed, and whether all had arrived; then do it again, and check."""
    was_killed = killed_before_change(number, lambda: import_bundle(bundle, Store(home)))
    store = Store(home)
    arrived = list(store.artifacts())
    for manifest in arrived:
        assert tree_digest(store.path(manifest.artifact()), None) == manifest.digest
    import_bundle(bundle, store)
    for artifact in family:
        store.verify(artifact)
    found = store.find(STATS, ToyConfig(text="root"), {})
    assert found == family[0]
    again = Store(home)
    # Small files are swept when they are an hour old.
    left = [p.name for p in again.home.glob(".tmp-*") if not p.name.startswith(".tmp-file-")]
    left += [p.name for folder in ("work", "locks") for p in (again.home / folder).glob("*")]
    assert not left, left
    return was_killed, len(arrived) == len(family)


def main(directory: Path) -> None:
    """Both drills, until an action comes through without a kill."""
    store = Store(directory / "store")
    family = make_family(store)
    told: dict[str, dict[str, int]] = {}
    bundle = directory / "good"
    export_directory(Snapshot(store), family[-1:], bundle, with_ancestors=True)
    for what in ("export", "import"):
        counts = {"kills": 0, "done": 0}
        while True:
            place = directory / f"{what}-{counts['kills']}"
            if what == "export":
                killed, done = kill_export(store, family, place, counts["kills"])
            else:
                killed, done = kill_import(bundle, family, place, counts["kills"])
            remove_plain_tree(place)
            if not killed:
                break
            counts["kills"] += 1
            counts["done"] += done
        told[what] = counts
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
