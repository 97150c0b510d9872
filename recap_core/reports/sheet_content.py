"""What a contact sheet shows: plain data, gathered elsewhere. All text is taken as untrusted."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from recap_core.reports.content import Fact, LabelShare, Note
from recap_core.reports.tracks import Ending, EpisodeTracks


@dataclass(frozen=True, kw_only=True)
class CameraRow:
    """Pictures of one camera at the sheet's frames of an episode."""

    name: str
    pictures: tuple[str, ...]
    """JPEG as ``data:`` addresses, one per shown frame."""
    width_px: int
    height_px: int


@dataclass(frozen=True, kw_only=True)
class SheetEpisode:
    """One episode of the sheet."""

    tracks: EpisodeTracks
    shown_frames: tuple[int, ...]
    """Frames of the pictures, rising."""
    cameras: tuple[CameraRow, ...]


@dataclass(frozen=True, kw_only=True)
class ContactSheet:
    """Everything on one page."""

    title: str
    subtitle: str
    facts: tuple[Fact, ...]
    notes: tuple[Note, ...]
    lengths_s: Mapping[Ending, Float[np.ndarray, " _"]]
    """Durations of the dataset's episodes by outcome; every outcome that occurs."""
    label_shares: tuple[LabelShare, ...]
    episodes: tuple[SheetEpisode, ...]
    tasks: tuple[str, ...]
    """Tasks of the episodes shown."""
