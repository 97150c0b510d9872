"""An existing LeRobot v3.0 dataset, whoever recorded it, becomes a RECAP dataset.

Videos stay as they are. Rows are read episode by episode, checked, and written again with the five
RECAP columns and ``phase``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recap_core.config.import_dataset import ImportConfig
from recap_core.data.adopted_columns import adopted_columns, adopted_correction_index
from recap_core.data.annotations import numbered
from recap_core.data.columns import (
    CORRECTION_INDEX,
    INTERVENTION,
    REWARD,
    check_recap_columns,
)
from recap_core.data.dataset_writer import (
    DatasetSummary,
    DatasetWriter,
    Origin,
    VideoSpan,
    emptied_on_error,
)
from recap_core.data.feature_statistics import FeatureStatistics
from recap_core.data.foreign_layout import read_foreign_meta
from recap_core.data.foreign_rows import ForeignEpisode, foreign_episodes
from recap_core.data.foreign_videos import VideoShare, check_videos, image_statistics
from recap_core.data.image_columns import encode_image_column
from recap_core.data.import_plan import ImportPlan, plan_import
from recap_core.data.import_record import ImportRecord, write_import_record
from recap_core.data.layout import DatasetMeta
from recap_core.lineage.digest_cache import DigestCache
from recap_core.progress import Progress, Silent


def adopt_dataset(  # noqa: PLR0913 - options are keyword-only
    source: Path,
    output: Path,
    config: ImportConfig,
    *,
    copies: bool = False,
    digests: DigestCache | None = None,
    progress: Progress | None = None,
) -> DatasetSummary:
    """Write a RECAP dataset with the content of another LeRobot dataset.

    All rows, columns and tasks are kept unless ``config`` says otherwise; videos are shared by hard
    link, images in parquet become videos. What the RECAP columns were made from is written to
    ``meta/recap_import.json``. On an error nothing is left in ``output``.

    Args:
        source: A v3.0 dataset, symbolic links in it allowed; only read.
        output: Directory of the result; must not exist or be empty.
        config: Where outcomes and interventions come from, names, and what is left out.
        copies: Copy the videos instead of linking them.
        digests: The store's digest cache.
        progress: Who watches.

    Raises:
        ConfigError: If a setting names what the dataset does not have.
        DataError: If the source is no whole dataset, contradicts itself, or states no outcome.
        ColumnError: If a column cannot be stored, or breaks the rule of a RECAP column.
        EpisodeError: If a video cannot be read.
    """
    meta = read_foreign_meta(source)
    plan = plan_import(meta, config)
    check_videos(meta, plan.videos)
    with (
        emptied_on_error(output),
        DatasetWriter(output, plan.features, fps=meta.fps, robot_type=meta.robot_type) as writer,
        (progress or Silent()).bar("import", meta.num_episodes) as bar,
    ):
        adopter = _Adopter(meta, plan, config, writer)
        share = VideoShare(meta, writer, digests=digests, copies=copies)
        rows = meta.episodes_with_statistics()
        names = {*plan.values, *plan.images, *plan.sources.columns}
        columns = [name for name in meta.features if name in names]
        for episode in foreign_episodes(meta, columns):
            row = rows.slice(episode.number, 1).to_pylist()[0]
            adopter.add(episode, row, share)
            bar.update(episode.number + 1)
        summary = writer.finish()
        write_import_record(output, adopter.record())
        return summary


class _Adopter:
    """Writes one episode after the other, and counts."""

    def __init__(
        self, meta: DatasetMeta, plan: ImportPlan, config: ImportConfig, writer: DatasetWriter
    ) -> None:
        self._meta = meta
        self._plan = plan
        self._config = config
        self._writer = writer
        self._num_successes = 0
        self._num_intervention_frames = 0

    def add(self, episode: ForeignEpisode, row: Mapping[str, Any], share: VideoShare) -> None:
        """Write one episode; ``row`` is its row of ``meta/episodes``."""
        plan = self._plan
        recap = adopted_columns(
            plan.sources, episode.columns, length=episode.length, episode=episode.number
        )
        check_recap_columns(recap, where=episode.where)
        values = {plan.names[source]: episode.columns[source] for source in plan.values}
        if CORRECTION_INDEX in values:
            values[CORRECTION_INDEX] = adopted_correction_index(
                values[CORRECTION_INDEX], where=episode.where
            )
        videos: dict[str, VideoSpan] = {}
        statistics: dict[str, FeatureStatistics] = {}
        for camera in plan.videos:
            name = plan.names[camera]
            videos[name] = share.span(row, camera, name)
            statistics[name] = image_statistics(self._meta, row, camera, episode=episode.number)
        for camera in plan.images:
            name = plan.names[camera]
            videos[name], statistics[name] = self._encode(episode, camera)
        self._writer.add_episode(
            values | recap,
            task=episode.task,
            origin=self._origin(row, episode.number),
            videos=videos,
            image_statistics=statistics,
        )
        self._num_successes += bool(recap[REWARD][-1] > 0)
        self._num_intervention_frames += int(np.sum(recap[INTERVENTION]))

    def _encode(self, episode: ForeignEpisode, camera: str) -> tuple[VideoSpan, FeatureStatistics]:
        """Make a video of the images of one camera."""
        name, fps = self._plan.names[camera], self._meta.fps
        target, chunk_index, file_index = self._writer.new_video_file(name)
        statistics = encode_image_column(
            episode.images.column(camera),
            target,
            feature=self._plan.features[name],
            fps=fps,
            where=f"{camera} of {episode.where}",
        )
        return VideoSpan(chunk_index, file_index, 0.0, episode.length / fps), statistics

    def _origin(self, row: Mapping[str, Any], episode: int) -> Origin:
        """Where an episode comes from, as far as the source knows."""
        config = self._config
        round_index = 0 if config.demonstrations else 1
        source, raw_episode = config.source or self._meta.root.name, numbered(episode)
        # Writers that know nothing of rounds may fill them with zeros, but name no raw episode.
        if row.get("raw_episode"):
            round_index = int(row.get("round") or 0)
            source, raw_episode = str(row.get("source") or source), str(row["raw_episode"])
        if config.round_index is not None:
            round_index = config.round_index
        return Origin(source, round_index, raw_episode)

    def record(self) -> ImportRecord:
        """What was found."""
        plan = self._plan
        cameras = {plan.names[camera]: "shared" for camera in plan.videos}
        cameras |= {plan.names[camera]: "encoded" for camera in plan.images}
        return ImportRecord(
            num_episodes=self._meta.num_episodes,
            num_successes=self._num_successes,
            num_frames=self._meta.num_frames,
            num_intervention_frames=self._num_intervention_frames,
            made_from=plan.sources.made_from(),
            cameras=cameras,
        )
