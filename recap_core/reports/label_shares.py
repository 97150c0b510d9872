"""How the frames of a task divide into labels."""

from typing import NamedTuple

from markupsafe import Markup

from recap_core.reports.content import LabelShare
from recap_core.reports.numbers import percent
from recap_core.reports.svg import across, drawing, node

_HEIGHT = 24


class Group(NamedTuple):
    """One group of frames of a task."""

    key: str
    """CSS class."""
    text: str
    frames: int


def groups(share: LabelShare) -> list[Group]:
    """The five groups in drawing order: what the policy should imitate first."""
    return [
        Group("demonstration", "demonstration", share.demonstration),
        Group("intervention", "corrected by the operator", share.intervention),
        Group("positive", "autonomous, positive", share.positive),
        Group("negative", "autonomous, negative", share.negative),
        Group("none", "none", share.none),
    ]


def total_frames(share: LabelShare) -> int:
    """All frames of the task."""
    return sum(group.frames for group in groups(share))


def share_bar(share: LabelShare) -> Markup:
    """One bar of the width, divided by group."""
    total = max(total_frames(share), 1)
    left = 0
    parts = []
    for group in groups(share):
        if group.frames:
            parts.append(
                node(
                    "rect",
                    node("title", f"{group.text}: {group.frames} frames"),
                    class_=f"share {group.key}",
                    x=across(left / total),
                    width=across(group.frames / total),
                    height=_HEIGHT,
                )
            )
            left += group.frames
    words = ", ".join(f"{g.text} {percent(g.frames / total)}" for g in groups(share) if g.frames)
    label = f"{share.task}: {words or 'no frames'}"
    return drawing(*parts, height=_HEIGHT, label=label, class_="plot")
