"""A policy that other software trained becomes a policy in the store."""

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from recap_core.config.import_policy import ImportPolicyConfig, PolicyLayout
from recap_core.config.policy import PolicyConfig
from recap_core.errors import CheckpointError
from recap_core.lineage.artifacts import PolicyCheckpoint
from recap_core.lineage.digests import files_digest
from recap_core.lineage.files import File
from recap_core.lineage.links import link_file
from recap_core.lineage.outside import files_behind_links
from recap_core.lineage.store import Build, Built, Store
from recap_core.progress import Progress, Silent
from recap_core.stages.registry import IMPORT_POLICY

if TYPE_CHECKING:
    from recap_core.transforms.normalize import NormStats as Statistics


class PolicySource(NamedTuple):
    """A policy outside the store, as it was found."""

    path: Path
    """openpi: the directory of the step; lerobot: of the policy."""
    params: Path
    """Directory of the parameters' files."""
    step: int | None
    config: ImportPolicyConfig


def describe_policy(  # noqa: PLR0913 - options are keyword-only
    path: Path,
    policy: PolicyConfig,
    *,
    asset_id: str | None = None,
    norm_stats: Path | None = None,
    base: bool = False,
    store: Store,
) -> PolicySource:
    """Look at a policy outside the store, and say what it would be imported as.

    Args:
        path: openpi: an experiment (its newest complete step counts), a step, or its ``params``;
            lerobot: what ``save_pretrained`` wrote.
        policy: What it was trained as. Its asset id is replaced by that of the norm stats.
        asset_id: openpi: whose norm stats to take; None: those that ``policy`` names, or the only
            ones that there are.
        norm_stats: Take this ``norm_stats.json`` instead of the policy's own.
        base: Take no norm stats: trainings may start from the result, but it cannot be served.
        store: Whose digest cache is used.

    Raises:
        CheckpointError: If there is no policy, or none of the norm stats are meant.
        IncompatibleError: If lerobot's settings contradict ``policy``.
        ConfigError: If lerobot's pi0.5 cannot be ``policy``.
    """
    from recap_core.checkpoints.lerobot_policy import is_lerobot_policy

    path = path.expanduser().absolute()
    find = _find_lerobot if is_lerobot_policy(path) else _find_openpi
    found = find(path, policy, asset_id, with_stats=not base and norm_stats is None)
    stats = found.stats if norm_stats is None else _read_statistics(norm_stats)
    if stats is None and not base:
        raise CheckpointError(
            f"{path} brings no norm stats. Name a file with --norm-stats, or import it with --base "
            "to start trainings from it."
        )
    embodiment = policy.embodiment.model_copy(update={"asset_id": found.asset_id})
    config = ImportPolicyConfig(
        policy=policy.model_copy(update={"embodiment": embodiment}),
        layout=found.layout,
        source_digest=_digest(found.params, found.layout, store),
        norm_stats=None if stats is None else _content(stats, where=norm_stats or path),
    )
    return PolicySource(found.root, found.params, found.step, config)


def import_policy(
    source: PolicySource,
    *,
    name: str,
    store: Store,
    copies: bool = False,
    progress: Progress | None = None,
) -> PolicyCheckpoint:
    """Publish a policy from outside the store.

    Parameters in openpi's layout are hard-linked (and become read-only), not rewritten; those of
    lerobot are written in openpi's layout. Shapes are compared with the configuration before
    anything is written, and every number is looked at: none may be NaN or infinite.

    Args:
        source: From :func:`describe_policy`.
        name: Name of a new artifact.
        store: Where it is published.
        copies: Copy the files of openpi's layout instead of sharing them.
        progress: Who watches.

    Raises:
        CheckpointError: If the parameters do not fit the configuration, are damaged, are not
            finite, or change meanwhile.
    """
    config = source.config

    def build(area: Build) -> Built:
        from recap_core.checkpoints.lerobot_weights import read_lerobot_params
        from recap_core.checkpoints.locate import PARAMS
        from recap_core.checkpoints.params import check_stored_finite, save_params
        from recap_core.checkpoints.policy_checkpoint import write_settings
        from recap_core.transforms.normalize import NormStats as Statistics

        params = area.output / PARAMS
        if config.layout == "openpi":
            _check_shapes(source.params, config.policy)
            _take_files(source, params, copies=copies, store=store, progress=progress)
        else:
            save_params(
                params, read_lerobot_params(source.params, config.policy.model, progress=progress)
            )
        num_params = check_stored_finite(params, progress=progress)
        stats = None
        if config.norm_stats is not None:
            stats = Statistics.from_json_dict({"norm_stats": config.norm_stats})
        write_settings(area.output, config.policy, stats)
        _check_unchanged(source, store)
        details = {
            "num_steps": 0 if source.step is None else source.step + 1,
            "num_params": num_params,
            "source": str(source.path),
            "source_layout": config.layout,
            "source_digest": config.source_digest,
            "source_step": source.step,
        }
        return Built(details)

    return store.produce(IMPORT_POLICY, config, {}, name=name, build=build)


class _Found(NamedTuple):
    root: Path
    params: Path
    step: int | None
    layout: PolicyLayout
    asset_id: str
    stats: "Statistics | None"


def _find_openpi(
    path: Path, policy: PolicyConfig, asset_id: str | None, *, with_stats: bool
) -> _Found:
    from recap_core.checkpoints.locate import locate_checkpoint
    from recap_core.checkpoints.policy_checkpoint import asset_ids, find_norm_stats

    place = locate_checkpoint(path)
    wanted = asset_id or policy.embodiment.asset_id
    stats = None
    if with_stats:
        there = asset_ids(place.root)
        if asset_id is None and wanted not in there and len(there) == 1:
            wanted = there[0]
        stats = find_norm_stats(place.root, wanted)
        if stats is None and there:
            raise CheckpointError(
                f"{place.root} has no norm stats of asset {wanted!r}, only of {list(there)}. "
                "Choose with --asset-id, name a file with --norm-stats, or import it with --base."
            )
    return _Found(place.root, place.params, place.step, "openpi", wanted, stats)


def _find_lerobot(
    path: Path, policy: PolicyConfig, asset_id: str | None, *, with_stats: bool
) -> _Found:
    from recap_core.checkpoints.lerobot_policy import (
        check_exchangeable,
        check_lerobot_config,
        read_lerobot_norm_stats,
    )

    check_exchangeable(policy)
    check_lerobot_config(path, policy)
    stats = read_lerobot_norm_stats(path) if with_stats else None
    return _Found(path, path, None, "lerobot", asset_id or policy.embodiment.asset_id, stats)


def _source_files(params: Path, layout: PolicyLayout) -> list[File]:
    """The files that hold the parameters, links followed."""
    if layout == "lerobot":
        from recap_core.checkpoints.lerobot_weights import weight_files

        return [File(file.name, file.resolve(), file.stat()) for file in weight_files(params)]
    files = files_behind_links(params.parent, [params.name])
    return [file._replace(relative=file.relative.partition("/")[2]) for file in files]


def _digest(params: Path, layout: PolicyLayout, store: Store) -> str:
    try:
        return files_digest(_source_files(params, layout), store.digests)
    except OSError as error:
        raise CheckpointError(f"{params} cannot be read ({error}). Copy it again.") from error


def _read_statistics(path: Path) -> "Statistics":
    from recap_core.checkpoints.policy_checkpoint import read_text
    from recap_core.transforms.normalize import NormStats as Statistics

    try:
        return Statistics.from_json_dict(json.loads(read_text(path)))
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read as norm stats: {error}") from error


def _content(stats: "Statistics", *, where: Path) -> dict[str, dict[str, tuple[float, ...]]]:
    content = {
        feature: {
            field: tuple(float(value) for value in values)
            for field, values in norm._asdict().items()
            if values is not None
        }
        for feature, norm in stats.features.items()
    }
    bad = [
        f"{field} of {feature}"
        for feature, fields in content.items()
        for field, values in fields.items()
        if not all(map(math.isfinite, values))
    ]
    if bad:
        raise CheckpointError(f"norm stats of {where} are not finite: {', '.join(bad)}")
    return content


def _check_shapes(params: Path, policy: PolicyConfig) -> None:
    import jax

    from recap_core.checkpoints.params import check_fits
    from recap_core.models.policy import Policy

    check_fits(params, jax.eval_shape(Policy(policy.model).init, jax.random.key(0)))


def _take_files(
    source: PolicySource, target: Path, *, copies: bool, store: Store, progress: Progress | None
) -> None:
    files = _source_files(source.params, source.config.layout)
    with (progress or Silent()).bar("take parameters", len(files)) as bar:
        for done, file in enumerate(files, start=1):
            path = target / file.relative
            if copies:
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.path, path)
            else:
                link_file(file.path, path, digests=store.digests)
            bar.update(done)


def _check_unchanged(source: PolicySource, store: Store) -> None:
    """Raise CheckpointError unless the source still is what the artifact's key says."""
    if _digest(source.params, source.config.layout, store) != source.config.source_digest:
        raise CheckpointError(
            f"{source.params} changed while it was imported. Import it again when nothing writes "
            "to it."
        )
