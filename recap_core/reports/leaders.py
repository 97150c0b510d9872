"""Lines that lead from moments of an episode to pictures of them."""

from collections.abc import Sequence

from markupsafe import Markup

from recap_core.reports.svg import across, drawing, node

_HEIGHT = 18


def leaders(frames: Sequence[int], num_frames: int, *, up: bool = False) -> Markup:
    """Lines between the moments of some frames and the equal slots that their pictures stand in.

    Args:
        frames: Indices within the episode, one per slot.
        num_frames: Length of the episode.
        up: The pictures stand above; else below.
    """
    lines = []
    for slot, frame in enumerate(frames):
        ends = [across((frame + 0.5) / num_frames), across((slot + 0.5) / len(frames))]
        x1, x2 = reversed(ends) if up else ends
        lines.append(node("line", class_="leader", x1=x1, x2=x2, y1=0, y2=_HEIGHT))
    return drawing(*lines, height=_HEIGHT, label="", class_="plot")
