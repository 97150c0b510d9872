"""Artifacts as people name them: ``current``, ``round-3``, an id, or a whole ref."""

from recap_core.errors import ArtifactError, ArtifactNotFoundError, ConfigError
from recap_core.lineage.artifacts import Artifact
from recap_core.lineage.layout import Layout
from recap_core.lineage.store import Store
from recap_core.lineage.tombstones import Tombstone, find_tombstone


def find_artifact(store: Store, reference: str, *, project: str | None = None) -> Artifact:
    """The artifact that ``reference`` names.

    Args:
        store: Where it is.
        reference: Id, unique prefix of one, ``<name>-<id8>``, ``project/robot/ref``; or the last
            part of a ref alone, such as ``current``, if only one project has it.
        project: ``project`` or ``project/robot`` that a lone last part belongs to.

    Raises:
        ArtifactNotFoundError: If there is none; names the refs there are.
        ArtifactError: If it fits several.
        ConfigError: If ``project`` is not in the store.
    """
    if "/" in reference:
        return _at_ref(store, reference)
    refs = store.refs()
    prefixes = projects_named(store, project)
    fitting = [prefix for prefix in prefixes if f"{prefix}/{reference}" in refs]
    if len(fitting) > 1:
        raise ArtifactError(
            f"{reference!r} is a ref of {len(fitting)} projects ({', '.join(fitting)}): say which "
            f"one with --project, or write {fitting[0]}/{reference}"
        )
    if fitting:
        return store.get(refs[f"{fitting[0]}/{reference}"])
    try:
        return store.get(reference)
    except ArtifactNotFoundError as error:
        names = sorted(ref.rpartition("/")[2] for ref in refs if ref.rpartition("/")[0] in prefixes)
        known = ", ".join(dict.fromkeys(_few(names)))
        others = f"one of the refs {known}" if known else "a ref, of which there is none yet"
        raise ArtifactNotFoundError(f"{error}; or {others}") from error


def _at_ref(store: Store, ref: str) -> Artifact:
    if ref.count("/") == 2:
        return store.get(ref)
    last = ref.rpartition("/")[2]
    same = [known for known in store.refs() if known.rpartition("/")[2] == last]
    meant = f"; did you mean {same[0]}?" if same else ""
    raise ArtifactNotFoundError(
        f"{ref!r} is no ref: write 'project/robot/name', or its last part alone{meant}"
    )


def find_removed(store: Store, reference: str) -> Tombstone | None:
    """What was removed under that id, unique id prefix, or ``<name>-<id8>``."""
    return find_tombstone(Layout(store.home), reference)


def projects_named(store: Store, project: str | None) -> list[str]:
    """Every ``project/robot`` with refs; with ``project`` or ``project/robot``, its own.

    A project that has settings and no ref yet is one, too.

    Raises:
        ConfigError: If no such project is in the store; names those that are.
    """
    known = list(dict.fromkeys(ref.rpartition("/")[0] for ref in store.refs()))
    if project is None:
        return known
    from recap_core.lineage.project_files import list_projects  # reads every stage's settings

    known = list(dict.fromkeys([*known, *list_projects(store.home)]))
    chosen = [prefix for prefix in known if project in {prefix, prefix.partition("/")[0]}]
    if not chosen:
        raise ConfigError(
            f"no project {project!r} in {store.home}; there are: {', '.join(known) or 'none yet'}"
        )
    return chosen


def _few(names: list[str], number: int = 12) -> list[str]:
    """The shortest names, which are those that people use."""
    shortest = sorted(sorted(names), key=len)[:number]
    return [*shortest, "..."] if len(names) > number else shortest
