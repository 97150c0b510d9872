"""An annotated video of an episode: camera images with the value below.

Nothing is published, so this is no stage of its own.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from recap_core.errors import IncompatibleError
from recap_core.lineage.artifacts import ValueCheckpoint, Values
from recap_core.lineage.store import Store
from recap_core.progress import Progress, Silent

if TYPE_CHECKING:
    from recap_core.reports.tracks import DatasetTracks
    from recap_core.reports.value_video import AnnotatedEpisode, Picture

BLOCK_FRAMES = 32


def open_valued(store: Store, judge: str, dataset: str, episode: int) -> "DatasetTracks":
    """A dataset with the V of one of its episodes at least, and the labels made of it, if any.

    Args:
        store: Where artifacts are.
        judge: Stored values, or a value model, which then values the episode now.
        dataset: Directory or artifact.
        episode: Which.

    Raises:
        ArtifactNotFoundError: If there is no such artifact.
        IncompatibleError: If ``judge`` is neither, or its values belong to another dataset.
    """
    from recap_core.reports.tracks import Judgement
    from recap_core.stages.value_evaluation import open_predictor
    from recap_core.stages.view import open_tracks

    artifact = store.get(judge)
    if isinstance(artifact, Values):
        return open_tracks(store, dataset, values=judge)
    if not isinstance(artifact, ValueCheckpoint):
        raise IncompatibleError(
            f"{judge} is {artifact.kind} {artifact.name}-{artifact.id[:8]}, but values or a value "
            "model were expected. See what there is with: recap lineage graph"
        )
    tracks = open_tracks(store, dataset)
    _check_episode(tracks, episode)
    predictor, _ = open_predictor(store, artifact)
    values = np.full(tracks.table.num_frames, np.nan)
    for batch in predictor.predictions(tracks.table, [episode]):
        values[batch.indices] = _expected(batch.probs)
    # The labels of another model's values would contradict the curve.
    tracks.judgement = Judgement(values=values, values_from=f"{artifact.name}-{artifact.id[:8]}")
    return tracks


def write_episode_video(
    tracks: "DatasetTracks", episode: int, path: Path, *, progress: Progress | None = None
) -> int:
    """Write the mp4 of an episode; returns its number of frames.

    Raises:
        DataError: If there is no such episode.
        EpisodeError: If a camera's video cannot be read.
    """
    from recap_core.data.video_files import encode_video
    from recap_core.reports.value_video import annotated_frames

    _check_episode(tracks, episode)
    drawn = annotated_frames(annotated_episode(tracks, episode), _images(tracks, episode))
    num_frames = int(tracks.table.episode_lengths[episode])

    def watched() -> "Iterator[Picture]":
        with (progress or Silent()).bar(f"video {episode}", num_frames) as bar:
            for done, frame in enumerate(drawn, start=1):
                yield frame
                bar.update(done)

    return encode_video(watched(), path, fps=tracks.table.fps, keyframe_interval=tracks.table.fps)


def annotated_episode(tracks: "DatasetTracks", episode: int) -> "AnnotatedEpisode":
    """What is drawn of an episode besides its images."""
    from recap_core.reports.tracks import DEMONSTRATION, OPERATOR
    from recap_core.reports.value_video import AnnotatedEpisode

    shown = tracks.episode(episode)
    values = shown.values
    has_labels = tracks.judgement.adv_ind is not None
    return AnnotatedEpisode(
        title=f"{tracks.name}, episode {episode}",
        fps=shown.fps,
        outcome=shown.ending,
        values=np.full(shown.num_frames, np.nan) if values is None else values.astype(np.float64),
        is_intervention=np.isin(shown.driver, (OPERATOR, DEMONSTRATION)),
        adv_ind=shown.adv_ind if has_labels else None,
    )


def _images(tracks: "DatasetTracks", episode: int) -> "Iterator[Mapping[str, Picture]]":
    from recap_core.data.video import iter_camera_blocks

    meta = tracks.table.meta
    if not meta.cameras:
        yield from ({} for _ in range(int(tracks.table.episode_lengths[episode])))
        return
    for block in iter_camera_blocks(meta, meta.cameras, block=BLOCK_FRAMES, episodes=[episode]):
        for i in range(len(block.indices)):
            yield {camera: images[i] for camera, images in block.images.items()}


def _check_episode(tracks: "DatasetTracks", episode: int) -> None:
    from recap_core.errors import DataError

    if not 0 <= episode < tracks.num_episodes:
        raise DataError(
            f"{tracks.name} has no episode {episode}; it has 0 to {tracks.num_episodes - 1}."
        )


def _expected(probs: Float[np.ndarray, "b bins"]) -> Float[np.ndarray, " b"]:
    from recap_core.labels.two_hot import expectation

    return np.clip(expectation(probs), -1, 0)
