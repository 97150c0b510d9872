"""Pages over all rounds of a store: derived from it, so nothing is published.

A :class:`Site` renders pages from one reading of the store. A server asks it page by page;
:func:`write_site` writes all of them as a directory, :func:`write_index` one of them as a file.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from recap_core.errors import ArtifactNotFoundError, ConfigError
from recap_core.lineage.artifacts import Report
from recap_core.lineage.store import Store
from recap_core.reports.page import write_text
from recap_core.reports.site_content import Addresses
from recap_core.reports.site_pages import SitePages
from recap_core.stages.index_artifact import artifact_page, iteration_page
from recap_core.stages.index_project import home_page, project_page
from recap_core.stages.index_rounds import Rounds
from recap_core.stages.index_snapshot import Snapshot, read_snapshot

REPORT_PAGE = "index.html"
"""The file that a report artifact holds."""

_ANCHOR = re.compile(r'href="#artifact-([0-9a-f]{32})"')
_OPENING = re.compile(r"<body[^>]*>\n")


@dataclass(frozen=True)
class ServedAddresses:
    """Pages as a server has them."""

    snapshot: Snapshot

    def home(self) -> str:
        """``/``."""
        return "/"

    def project(self, project: str, robot: str) -> str:
        """``/projects/<project>/<robot>/``."""
        return f"/projects/{project}/{robot}/"

    def iteration(self, artifact_id: str) -> str:
        """``/iterations/<id>``."""
        return f"/iterations/{artifact_id}" if _has_round(self.snapshot, artifact_id) else ""

    def artifact(self, artifact_id: str) -> str:
        """``/artifacts/<id>``."""
        return f"/artifacts/{artifact_id}" if artifact_id in self.snapshot.manifests else ""

    def report(self, artifact_id: str) -> str:
        """``/reports/<id>/``."""
        return f"/reports/{artifact_id}/" if _is_report(self.snapshot, artifact_id) else ""


@dataclass(frozen=True)
class FileAddresses:
    """Pages as files of a directory, seen from one of them."""

    snapshot: Snapshot
    depth: int
    """Directories between the page and the top."""

    def home(self) -> str:
        """``index.html`` at the top."""
        return self._up("index.html")

    def project(self, project: str, robot: str) -> str:
        """``projects/<project>/<robot>/index.html``."""
        return self._up(f"projects/{project}/{robot}/index.html")

    def iteration(self, artifact_id: str) -> str:
        """``iterations/<id>.html``."""
        has_page = _has_round(self.snapshot, artifact_id)
        return self._up(f"iterations/{artifact_id}.html") if has_page else ""

    def artifact(self, artifact_id: str) -> str:
        """``artifacts/<id>.html``."""
        has_page = artifact_id in self.snapshot.manifests
        return self._up(f"artifacts/{artifact_id}.html") if has_page else ""

    def report(self, artifact_id: str) -> str:
        """``reports/<id>/index.html``."""
        has_page = _is_report(self.snapshot, artifact_id)
        return self._up(f"reports/{artifact_id}/{REPORT_PAGE}") if has_page else ""

    def _up(self, path: str) -> str:
        return "../" * self.depth + path


@dataclass(frozen=True)
class LoneAddresses:
    """One page by itself: it leads to the reports where they lie in the store, and nowhere else."""

    snapshot: Snapshot

    def home(self) -> str:
        """Not there."""
        return ""

    def project(self, project: str, robot: str) -> str:
        """Not there."""
        del project, robot
        return ""

    def iteration(self, artifact_id: str) -> str:
        """Not there."""
        del artifact_id
        return ""

    def artifact(self, artifact_id: str) -> str:
        """Not there."""
        del artifact_id
        return ""

    def report(self, artifact_id: str) -> str:
        """Its file in the store."""
        if not _is_report(self.snapshot, artifact_id):
            return ""
        return report_file(self.snapshot, artifact_id).as_uri()


class Site:
    """All pages of a store as it was when it was read.

    Args:
        store: What to read.
        addresses: Where pages are, from the snapshot and a page's depth below the top.
    """

    def __init__(
        self, store: Store, addresses: Callable[[Snapshot, int], Addresses] | None = None
    ) -> None:
        self.snapshot = read_snapshot(store)
        self._addresses = addresses or (lambda snapshot, depth: ServedAddresses(snapshot))
        self._pages = SitePages()
        self._rounds = Rounds(self.snapshot)

    def home(self) -> str:
        """All projects."""
        return self._pages.home(home_page(self.snapshot), self._at(0))

    def project(self, project: str, robot: str) -> str:
        """All rounds of a project on a robot.

        Raises:
            ArtifactNotFoundError: If there is no such project.
        """
        if (project, robot) not in self.snapshot.projects():
            raise ArtifactNotFoundError(
                f"there is no project {project}/{robot} in {self.snapshot.store.home}"
            )
        page = project_page(self.snapshot, self._rounds, project, robot)
        return self._pages.project(page, self._at(3))

    def iteration(self, artifact_id: str) -> str:
        """One round.

        Raises:
            ArtifactNotFoundError: If no round has that id.
        """
        at = self._at(1)
        page = iteration_page(self.snapshot, self._rounds, artifact_id, at)
        return self._pages.iteration(page, at)

    def artifact(self, artifact_id: str) -> str:
        """One artifact.

        Raises:
            ArtifactNotFoundError: If there is no readable artifact of that id.
        """
        page = artifact_page(self.snapshot, self._rounds, artifact_id)
        return self._pages.artifact(page, self._at(1))

    def report(self, artifact_id: str) -> str:
        """The page of a report artifact, its boxes leading to the artifacts' pages.

        Raises:
            ArtifactNotFoundError: If there is no such report, or its file is gone.
        """
        path = report_file(self.snapshot, artifact_id)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactNotFoundError(f"the page {path} cannot be read: {error}") from error
        at = self._at(2)

        def linked(match: re.Match[str]) -> str:
            address = at.artifact(match[1])
            return f'href="{address}"' if address else match[0]

        text = _ANCHOR.sub(linked, text)
        bar = self._pages.bar(at, self._round_of(artifact_id))
        return _OPENING.sub(lambda match: match[0] + bar, text, count=1)

    def message(self, title: str, text: str) -> str:
        """A page that says why there is no other."""
        return self._pages.message(title, text, self._at(0))

    def _at(self, depth: int) -> Addresses:
        return self._addresses(self.snapshot, depth)

    def _round_of(self, report_id: str) -> tuple[str, str, int, str] | None:
        for (project, robot), records in self.snapshot.records.items():
            for record in records:
                if record.id("report") == report_id:
                    artifact = record.artifact
                    return project, robot, artifact.round_index, artifact.id
        return None


def write_site(store: Store, target: Path) -> int:
    """Write every page of a store into a new directory, with relative links.

    Args:
        store: What to read.
        target: A directory that does not exist yet, or an empty one.

    Returns:
        Number of pages.

    Raises:
        ConfigError: If ``target`` has content.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"{target} exists and is not an empty directory; pages are written into a new one"
        )
    draft = target.parent / f".{target.name}.partial"
    shutil.rmtree(draft, ignore_errors=True)
    num_pages = _write_all(Site(store, FileAddresses), draft)
    if target.is_dir():
        target.rmdir()
    draft.rename(target)
    return num_pages


def write_index(store: Store, target: Path, project: tuple[str, str] | None = None) -> int:
    """Write one page as a file that needs no other: a project's rounds, or all projects.

    Args:
        store: What to read.
        target: The file.
        project: Project and robot; None: the page of all projects.

    Returns:
        Its size in bytes.
    """
    site = Site(store, lambda snapshot, _: LoneAddresses(snapshot))
    return write_text(site.home() if project is None else site.project(*project), target)


def report_file(snapshot: Snapshot, artifact_id: str) -> Path:
    """The page that a report artifact holds.

    Raises:
        ArtifactNotFoundError: If there is no such report.
    """
    manifest = snapshot.manifests.get(artifact_id)
    artifact = manifest.artifact() if manifest and manifest.kind == "report" else None
    if not isinstance(artifact, Report):
        raise ArtifactNotFoundError(f"there is no report {artifact_id}")
    return snapshot.store.path(artifact) / REPORT_PAGE


def _write_all(site: Site, top: Path) -> int:
    snapshot, num_pages = site.snapshot, 0

    def write(path: str, page: str) -> None:
        nonlocal num_pages
        file = top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, file)
        num_pages += 1

    write("index.html", site.home())
    for project, robot in snapshot.projects():
        write(f"projects/{project}/{robot}/index.html", site.project(project, robot))
    for records in snapshot.records.values():
        for record in records:
            write(f"iterations/{record.artifact.id}.html", site.iteration(record.artifact.id))
    for artifact_id, manifest in snapshot.manifests.items():
        write(f"artifacts/{artifact_id}.html", site.artifact(artifact_id))
        if manifest.kind == "report":
            write(f"reports/{artifact_id}/{REPORT_PAGE}", _report_or_message(site, artifact_id))
    return num_pages


def _report_or_message(site: Site, artifact_id: str) -> str:
    try:
        return site.report(artifact_id)
    except ArtifactNotFoundError as error:
        return site.message("This report cannot be shown", str(error))


def _has_round(snapshot: Snapshot, artifact_id: str) -> bool:
    return artifact_id in snapshot.settings


def _is_report(snapshot: Snapshot, artifact_id: str) -> bool:
    manifest = snapshot.manifests.get(artifact_id)
    return manifest is not None and manifest.kind == "report"
