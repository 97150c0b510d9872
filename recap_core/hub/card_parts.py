"""What the cards of all kinds say: where something comes from, how it was made, what it lacks."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from recap_core.hub.markdown import bullets, plain, settings, table
from recap_core.lineage.manifest import Manifest, Metric
from recap_core.reports.numbers import count, decimal, percent
from recap_core.stages.trace_content import (
    Origin,
    TracedAnnotations,
    TracedLabels,
    TracedRecording,
    TracedValueModel,
)

_MAX_RECORDINGS = 40
_LONG_SETTINGS = {"norm_stats", "outcomes", "source_digest"}
"""Settings that are data."""


class CardOptions(NamedTuple):
    """What a card cannot know from lineage."""

    repo: str = "OWNER/NAME"
    license: str | None = None
    """Identifier of the hub's, such as ``cc-by-4.0``; None: the card states none."""
    with_operators: bool = False
    """Name the people who recorded, decided, and what they noted."""

    @property
    def directory(self) -> str:
        """Where the examples download to."""
        return self.repo.rpartition("/")[2]


def recordings_part(recordings: Sequence[TracedRecording], options: CardOptions) -> str:
    """One line per recording, and their sum."""
    if not recordings:
        return ""
    head = ["recording", "round", "recorded", "episodes", "successes", "frames", "by hand",
            "driven by", "robot"]  # fmt: skip
    rows = [_recording_row(recording) for recording in recordings[-_MAX_RECORDINGS:]]
    if options.with_operators:
        head.append("operator")
        for row, recording in zip(rows, recordings[-_MAX_RECORDINGS:], strict=True):
            row.append(plain(recording.operator or ""))
    text = table(head, rows)
    left_out = len(recordings) - len(rows)
    if left_out:
        text += f"\n\nand {left_out} earlier ones."
    frames = sum(recording.num_frames for recording in recordings)
    by_hand = sum(recording.num_intervention_frames for recording in recordings)
    episodes = sum(recording.num_episodes for recording in recordings)
    successes = sum(recording.num_successes for recording in recordings)
    return (
        f"{len(recordings)} recordings: {count(episodes)} episodes, {count(successes)} of them "
        f"successful; {count(frames)} frames, {percent(by_hand / frames)} driven by hand.\n\n{text}"
    )


def _recording_row(recording: TracedRecording) -> list[str]:
    # A day alone: the hour says more about people than about data.
    at = recording.recorded_at
    day = datetime.fromtimestamp(at, UTC) if at is not None else recording.published_at
    driver = recording.collector.label if recording.collector else recording.mode
    return [
        plain(recording.of.label),
        str(recording.round_index),
        f"{day:%Y-%m-%d}",
        count(recording.num_episodes),
        count(recording.num_successes),
        count(recording.num_frames),
        percent(recording.intervention_share),
        plain(driver),
        plain(recording.robot or ""),
    ]


def annotations_part(annotations: Sequence[TracedAnnotations]) -> str:
    """What was corrected after the fact; the newest holds the earlier ones."""
    if not annotations:
        return ""
    newest = annotations[-1]
    return (
        f"Corrected after the fact: outcomes changed: {newest.num_changed}, episodes left out: "
        f"{newest.num_excluded}."
    )


def labels_part(labels: TracedLabels | None, models: Sequence[TracedValueModel]) -> str:
    """The label rule, what it gave, and the value model behind it."""
    if labels is None:
        return ""
    lines = [
        f"Rule of labels {plain(labels.of.label)}: {plain(labels.rule)}",
        (
            f"{count(labels.num_positive)} frames positive, {count(labels.num_negative)} negative, "
            f"{count(labels.num_none)} none; {percent(labels.autonomous_positive_share)} of the "
            "autonomous frames that the threshold was drawn from are positive."
        ),
    ]
    lines += [
        f"Advantage from which a frame of {plain(task)!r} is positive: {decimal(threshold, 4)}"
        for task, threshold in labels.thresholds.items()
        if threshold is not None
    ]
    lines += [value_model_line(model) for model in models if model.of.id == labels.value_model]
    return bullets(lines)


def value_model_line(model: TracedValueModel) -> str:
    """A value model, and what it showed on episodes that it was not trained on."""
    if model.source is not None:
        return f"Value model {plain(model.of.label)}: imported, so its health was not measured."
    verdict = "healthy" if model.healthy else "**not healthy**"
    found = [
        f"{title} {_with_interval(model.metrics, name)}"
        for name, title in (
            ("spearman", "rank correlation with the return"),
            ("separation", "successes above failures by"),
            ("cross_entropy", "cross-entropy"),
        )
        if model.metrics.get(name) is not None
    ]
    told = f"; on held-out episodes: {', '.join(found)}" if found else ""
    return f"Value model {plain(model.of.label)}, {count(model.num_steps)} steps: {verdict}{told}."


def measures_part(metrics: dict[str, Metric]) -> str:
    """Every measure on held-out episodes, with its interval where it has one."""
    names = [name for name in metrics if not name.endswith(("_low", "_high"))]
    rows = [
        (f"`{name}`", _with_interval(metrics, name)) for name in names if metrics[name] is not None
    ]
    return table(["on held-out episodes", ""], rows) if rows else ""


def _with_interval(metrics: dict[str, Metric], name: str) -> str:
    value, low, high = (metrics.get(f"{name}{end}") for end in ("", "_low", "_high"))
    text = decimal(value or 0.0, 0 if name.startswith("num_") else 3)
    if low is None or high is None:
        return text
    return f"{text} [{decimal(low, 3)}, {decimal(high, 3)}]"


def rounds_line(origin: Origin) -> str:
    """The rounds that took or made it."""
    rounds = dict.fromkeys(one.round for one in origin.rounds)
    return f"Part of {', '.join(plain(name) for name in rounds)}." if rounds else ""


def making_part(manifest: Manifest, origin: Origin) -> str:
    """Stage, versions, settings and ids."""
    libraries = ", ".join(
        f"{name} {manifest.libraries[name]}"
        for name in ("jax", "flax", "lerobot", "av")
        if name in manifest.libraries
    )
    lines = [
        f"artifact `{manifest.kind} {manifest.name}-{manifest.id[:8]}`, id `{manifest.id}`",
        f"content digest `{manifest.digest}`",
        f"stage `{manifest.stage}` version {manifest.stage_version}",
        f"finished {manifest.finished_at:%Y-%m-%d}",
        f"code {manifest.code_version}" + (f"; {libraries}" if libraries else ""),
    ]
    others = [each for each in origin.code_versions if each != manifest.code_version]
    if others:
        lines.append(f"code of what it was made from: {', '.join(others)}")
    told = {k: v for k, v in manifest.config.items() if k not in _LONG_SETTINGS}
    given = f"\n\nSettings that are not the defaults:\n\n{settings(told)}" if told else ""
    return bullets(lines) + given


def missing_limits(origin: Origin) -> list[str]:
    """What the card cannot know."""
    if not origin.missing:
        return []
    return [
        f"{len(origin.missing)} artifacts behind it were no longer there when this card was made."
    ]
