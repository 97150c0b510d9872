"""From a dataset's tracks to the content of a contact sheet."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import numpy as np
from jaxtyping import Bool

from recap_core.data.columns import ADV_IND, IMAGE_PREFIX, INTERVENTION
from recap_core.data.video import decode_frames
from recap_core.labels.adv_ind import NEGATIVE, POSITIVE
from recap_core.progress import Progress, Silent
from recap_core.reports.content import Fact, LabelShare, Note
from recap_core.reports.label_shares import total_frames
from recap_core.reports.numbers import count, duration, percent
from recap_core.reports.sheet_content import CameraRow, ContactSheet, SheetEpisode
from recap_core.reports.svg import runs
from recap_core.reports.thumbnails import jpeg_uri
from recap_core.reports.tracks import OPERATOR, POLICY, DatasetTracks, Ending, EpisodeTracks
from recap_core.stages.label_counts import label_shares

NUM_EVEN_FRAMES: Final = 10
MAX_TAKEOVERS: Final = 3
"""Takeovers whose first and last frames are shown beside the evenly spaced ones."""
NUM_THREADS: Final = 4
"""Episodes decoded at a time; each holds its pictures in full size."""
THUMBNAIL_PX: Final = 176
THUMBNAIL_QUALITY: Final = 74


def contact_sheet(
    tracks: DatasetTracks, episodes: Sequence[int], *, progress: Progress | None = None
) -> ContactSheet:
    """Gather the sheet of some episodes of a dataset, and the summary of all of them.

    Pictures are decoded episode by episode and kept as JPEG only.

    Args:
        tracks: The dataset.
        episodes: Episodes to show, in this order.
        progress: Who watches.

    Raises:
        DataError: If columns or videos cannot be read.
    """
    facts = _facts(tracks)  # before the threads: it reads the columns that they share
    shown: list[SheetEpisode] = []
    with (
        (progress or Silent()).bar("contact sheet", len(episodes)) as bar,
        ThreadPoolExecutor(NUM_THREADS) as threads,
    ):
        for episode in threads.map(partial(_sheet_episode, tracks), episodes):
            shown.append(episode)
            bar.update(len(shown))
    meta = tracks.table.meta
    parts = [f"LeRobot {meta.info['codebase_version']}", f"{meta.fps} fps"]
    parts += [meta.robot_type] if meta.robot_type else []
    parts.append(", ".join(_camera_name(camera) for camera in meta.cameras) or "no cameras")
    return ContactSheet(
        title=tracks.name,
        subtitle=" · ".join(parts),
        facts=facts,
        notes=_notes(tracks, len(episodes)),
        lengths_s=_lengths(tracks),
        label_shares=_shares(tracks),
        episodes=tuple(shown),
        tasks=tuple(dict.fromkeys(episode.tracks.task for episode in shown)),
    )


def frames_to_show(is_corrected: Bool[np.ndarray, " t"]) -> tuple[int, ...]:
    """Evenly spaced frames, and the first and last frame of the longest takeovers.

    An even frame gives way to a takeover's that is close to it; the episode's first and last
    frames always stay.
    """
    num_frames = len(is_corrected)
    even = np.unique(np.linspace(0, num_frames - 1, NUM_EVEN_FRAMES).round().astype(int)).tolist()
    takeovers = [
        (stop - start, start, stop) for start, stop, driven in runs(is_corrected) if driven
    ]
    longest = sorted(takeovers, reverse=True)[:MAX_TAKEOVERS]
    events = {frame for _, start, stop in longest for frame in (start, stop - 1)}
    room = num_frames / NUM_EVEN_FRAMES / 2
    kept = {
        frame
        for frame in even
        if frame in {0, num_frames - 1} or all(abs(frame - event) > room for event in events)
    }
    return tuple(sorted(kept | events))


def _sheet_episode(tracks: DatasetTracks, index: int) -> SheetEpisode:
    episode = tracks.episode(index)
    shown = frames_to_show(episode.driver == OPERATOR)
    return SheetEpisode(
        tracks=episode, shown_frames=shown, cameras=_camera_rows(tracks, episode, shown)
    )


def _camera_rows(
    tracks: DatasetTracks, episode: EpisodeTracks, shown: tuple[int, ...]
) -> tuple[CameraRow, ...]:
    meta = tracks.table.meta
    images = decode_frames(meta.root, meta.cameras, episode.first_index + np.array(shown))
    rows = []
    for camera, frames in images.items():
        _, height, width, _ = frames.shape
        pictures = tuple(
            jpeg_uri(frame, max_width_px=THUMBNAIL_PX, quality=THUMBNAIL_QUALITY)
            for frame in frames
        )
        name = _camera_name(camera)
        rows.append(CameraRow(name=name, pictures=pictures, width_px=width, height_px=height))
    return tuple(rows)


def _camera_name(camera: str) -> str:
    return camera.removeprefix(IMAGE_PREFIX)


def _facts(tracks: DatasetTracks) -> tuple[Fact, ...]:
    table = tracks.table
    num_frames, num_episodes = table.num_frames, tracks.num_episodes
    rounds = len(set(table.rounds.tolist()))
    facts = [
        Fact(
            label="episodes",
            value=count(num_episodes),
            note=f"of {rounds} round{'s' if rounds != 1 else ''}, "
            f"{len(table.tasks)} task{'s' if len(table.tasks) != 1 else ''}",
        ),
        Fact(
            label="frames",
            value=count(num_frames),
            note=f"{duration(float(num_frames / table.fps))} in all",
        ),
    ]
    if "unknown" not in tracks.endings:
        successes = tracks.endings.count("success")
        note = f"{count(successes)} of {count(num_episodes)}"
        facts.append(
            Fact(label="successful", value=percent(successes / max(num_episodes, 1)), note=note)
        )
    if INTERVENTION in table.meta.features:
        corrected = int((tracks.driver == OPERATOR).sum())
        episodes = int(tracks.is_corrected.sum())
        facts.append(
            Fact(
                label="corrected by the operator",
                value=percent(corrected / max(num_frames, 1)),
                note=f"{count(corrected)} frames in {count(episodes)} "
                f"episode{'s' if episodes != 1 else ''}",
            )
        )
    autonomous = tracks.adv_ind[tracks.driver == POLICY]
    judged = int(np.isin(autonomous, (POSITIVE, NEGATIVE)).sum())
    if judged:
        positive = int((autonomous == POSITIVE).sum())
        facts.append(
            Fact(
                label="labelled positive",
                value=percent(positive / judged),
                note=f"of {count(judged)} autonomous frames",
            )
        )
    return tuple(facts)


def _notes(tracks: DatasetTracks, num_shown: int) -> tuple[Note, ...]:
    notes = []
    if num_shown < tracks.num_episodes:
        notes.append(
            Note(
                text=f"{count(num_shown)} of {count(tracks.num_episodes)} episodes are shown; "
                f"{count(tracks.num_episodes - num_shown)} are left out. The summary is of all."
            )
        )
    judgement = tracks.judgement
    if "unknown" in tracks.endings:
        text = "The dataset lacks RECAP columns: outcomes, drivers and labels are not known."
        notes.append(Note(text=text, severity="warning"))
    elif judgement.values is None and judgement.adv_ind is None:
        text = "No value model has judged it: curves are value_label, labels the column adv_ind."
        notes.append(Note(text=text))
    if judgement.values is not None or judgement.adv_ind is not None:
        values = judgement.values_from or "no value model, so value_label is drawn"
        labels = judgement.labels_from or "the column adv_ind"
        notes.append(Note(text=f"Values from {values}; labels from {labels}."))
    return tuple(notes)


def _lengths(tracks: DatasetTracks) -> dict[Ending, np.ndarray]:
    seconds = tracks.table.episode_lengths / tracks.table.fps
    endings = np.array(tracks.endings)
    known: tuple[Ending, ...] = ("success", "failure", "unknown")
    return {ending: seconds[endings == ending] for ending in known if (endings == ending).any()}


def _shares(tracks: DatasetTracks) -> tuple[LabelShare, ...]:
    features = tracks.table.meta.features
    if INTERVENTION not in features or (
        ADV_IND not in features and tracks.judgement.adv_ind is None
    ):
        return ()
    thresholds = tracks.judgement.thresholds or {}
    shares = label_shares(tracks.table, tracks.adv_ind, thresholds)
    frames = {share.task: total_frames(share) for share in shares}
    return tuple(sorted((s for s in shares if frames[s.task]), key=lambda s: -frames[s.task]))


def spread(num_episodes: int, limit: int) -> list[int]:
    """At most ``limit`` episodes, evenly spread over the dataset, the first and last among them."""
    if num_episodes <= limit:
        return list(range(num_episodes))
    return np.unique(np.linspace(0, num_episodes - 1, limit).round().astype(int)).tolist()
