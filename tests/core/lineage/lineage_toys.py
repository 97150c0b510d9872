"""Small stages that the tests of this folder produce artifacts with."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from recap_core.config.base import Config
from recap_core.lineage.artifacts import Artifact, Iteration, NormStats, Report
from recap_core.lineage.keys import Stage
from recap_core.lineage.links import link_tree
from recap_core.lineage.store import Build, Built, Store

STATS = Stage("toy_stats", 1, NormStats)
REPORT = Stage("toy_report", 1, Report)
PROJECT = "toy/arm"


class ToyConfig(Config):
    """Two settings."""

    text: str = "hello"
    scale: float = 1.0


def writes(text: str = "hello", *, calls: list[Path] | None = None) -> Callable[[Build], Built]:
    """A build of two files, one of them in a directory; notes its output path in ``calls``."""

    def build(build: Build) -> Built:
        if calls is not None:
            calls.append(build.output)
        (build.output / "sub").mkdir()
        (build.output / "sub" / "a.txt").write_text(text)
        (build.output / "b.txt").write_text("b")
        return Built({"num_frames": len(text)}, {"loss": 0.5})

    return build


def make_stats(store: Store, text: str = "hello", **inputs: Artifact) -> Artifact:
    """A published ``NormStats`` whose content and settings are ``text``."""
    return store.produce(STATS, ToyConfig(text=text), inputs, name="stats", build=writes(text))


def make_report(store: Store, name: str = "report", **inputs: Artifact) -> Artifact:
    """A published ``Report`` made from ``inputs``."""

    def build(build: Build) -> Built:
        (build.output / "index.html").write_text(name)
        return Built({})

    return store.produce(REPORT, ToyConfig(text=name), inputs, name=name, build=build)


def make_round(store: Store, index: int, **parts: Artifact) -> Artifact:
    """The record of a round that is finished."""
    project, robot = PROJECT.split("/")
    decision = {"verdict": "kept", "reasons": ["worse"]}
    details = {"project": project, "robot": robot, "round_index": index, **decision}

    def build(build: Build) -> Built:
        (build.output / "iteration.json").write_text(str(index))
        return Built(details)

    stage, config = Stage("toy_round", 1, Iteration), ToyConfig(text=f"{index}")
    return store.produce(stage, config, parts, name=f"round-{index}", build=build)


def copies(store: Store, source: Artifact) -> Callable[[Build], Built]:
    """A build that hard-links ``source`` and uses partial work on its way."""

    def build(build: Build) -> Built:
        (build.work / "partial").write_text("half")
        link_tree(store.path(source), build.output, digests=store.digests)
        (build.output / "new").mkdir()
        (build.output / "new" / "c.txt").write_text("c")
        return Built({"num_frames": 1})

    return build


def age() -> None:
    """Wait until files written so far are old enough to have their digests cached."""
    time.sleep(0.03)


def left_over(store: Store) -> list[str]:
    """Drafts, partial work and lock files."""
    names = [path.name for path in store.home.glob(".tmp-*")]
    return names + [p.name for d in ("work", "locks") for p in (store.home / d).glob("*")]


def damage(path: Path, kind: str) -> None:
    """Change a published artifact behind the store's back."""
    path.chmod(0o755)
    match kind:
        case "content":
            (path / "b.txt").chmod(0o644)
            (path / "b.txt").write_text("c")
        case "added":
            (path / "new").touch()
        case "removed":
            (path / "b.txt").unlink()
        case "link":
            (path / "new").symlink_to("b.txt")
        case "no manifest":
            (path / "artifact.json").unlink()
        case _:
            text = (path / "artifact.json").read_text()
            (path / "artifact.json").unlink()
            (path / "artifact.json").write_text(text.replace('"digest": "', '"digest": "0'))


def _slow_producer(home: Path, log: Path) -> None:
    """Produce one key slowly, noting each build in ``log``; print the artifact's id."""

    def build(build: Build) -> Built:
        with log.open("a") as file:
            file.write("built\n")
        time.sleep(0.5)
        return writes()(build)

    artifact = Store(home).produce(STATS, ToyConfig(), {}, name="stats", build=build)
    sys.stdout.write(artifact.id)


if __name__ == "__main__":
    _slow_producer(Path(sys.argv[1]), Path(sys.argv[2]))
