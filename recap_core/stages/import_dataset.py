"""A LeRobot dataset from outside the store becomes a RECAP dataset in it."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from recap_core.config.import_dataset import ImportConfig
from recap_core.errors import DataError
from recap_core.lineage.artifacts import Dataset
from recap_core.lineage.outside import outside_digest
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress
from recap_core.stages.registry import IMPORT_DATASET

DIRECTORIES: Final = ("data", "meta", "videos")
"""Where LeRobot keeps a dataset; what lies beside them is not looked at."""
OLDER_VERSIONS: Final = ("v2.0", "v2.1")


def import_dataset(  # noqa: PLR0913 - options are keyword-only
    source: Path,
    config: ImportConfig,
    *,
    name: str,
    store: Store,
    copies: bool = False,
    progress: Progress | None = None,
) -> Dataset:
    """Publish a RECAP dataset with the content of an existing LeRobot dataset.

    The key holds the digest of the source's content, so the same files give the same artifact
    wherever they lie, and a change to them another one.

    Args:
        source: Directory of a LeRobot dataset, v3.0 or v2.1; symbolic links in it are followed.
        config: Where the RECAP columns come from; its ``source_digest`` is filled in here.
        name: Name of a new artifact.
        store: Where it goes.
        copies: Copy the videos instead of sharing them by hard link. Shared files become
            read-only, because they are part of an artifact then.
        progress: Who watches.

    Raises:
        ConfigError: If a setting names what the dataset does not have.
        DataError: If the source is no whole dataset, states no outcome, or changes meanwhile.
    """
    from recap_core.data.info import read_info

    source = source.absolute()
    version = read_info(source).get("codebase_version")
    digest = outside_digest(source, DIRECTORIES, store.digests)
    # Names repeat from lab to lab; episodes must stay apart in merges and annotations.
    filled_in = {"source_digest": digest, "source": config.source or digest}
    config = config.model_copy(update=filled_in)

    def build(area: Build) -> Built:
        from recap_core.data.adopt import adopt_dataset

        with _as_v30(source, version, config, area.work, progress) as (current, rest):
            summary = adopt_dataset(
                current,
                area.output,
                rest,
                copies=copies,
                digests=store.digests,
                progress=progress,
            )
        _check_unchanged(source, digest, store)
        return Built(summary._asdict(), _metrics(area.output))

    return store.produce(IMPORT_DATASET, config, {}, name=name, build=build)


@contextmanager
def _as_v30(
    source: Path, version: object, config: ImportConfig, work: Path, progress: Progress | None
) -> Generator[tuple[Path, ImportConfig]]:
    """The dataset itself, or of an older one a v3.0 copy, gone again afterwards; and what to do.

    What is dropped may be what v3.0 cannot hold, so the copy lacks it already.
    """
    if version not in OLDER_VERSIONS:
        yield source, config
        return
    from recap_core.data.import_plan import unread
    from recap_core.data.import_v21 import import_v21

    with tempfile.TemporaryDirectory(dir=work) as scratch:
        current = Path(scratch) / "dataset"
        drop = unread(config)
        import_v21(source, current, drop=drop, progress=progress)
        rest = tuple(name for name in config.drop if name not in drop)
        yield current, config.model_copy(update={"drop": rest})


def _check_unchanged(source: Path, digest: str, store: Store) -> None:
    """Raise DataError unless the source still is what the artifact's key says."""
    if outside_digest(source, DIRECTORIES, store.digests) != digest:
        raise DataError(
            f"{source} changed while it was imported. Import it again when nothing records into it."
        )


def _metrics(output: Path) -> dict[str, int]:
    from recap_core.data.import_record import read_import_record

    record = read_import_record(output)
    return {
        "num_successes": record.num_successes,
        "num_intervention_frames": record.num_intervention_frames,
    }
