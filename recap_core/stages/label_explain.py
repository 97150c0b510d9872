"""Why a frame is labelled as it is: every number behind its label, and where each comes from.

Nothing is published, so this is no stage of its own.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from recap_core.config.labels import LabelConfig
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.label_table import LABELS_FILE, LabelTable, read_label_table
from recap_core.errors import ArtifactNotFoundError, ConfigError, CorruptArtifactError
from recap_core.labels.adv_ind import NAMES, NEGATIVE, POSITIVE
from recap_core.labels.choice import group_of_episodes
from recap_core.labels.labelling import (
    LabelRule,
    demonstration_frames,
    frame_windows,
    is_skipped,
    targets_of,
)
from recap_core.lineage.store import Store
from recap_core.stages.label_inputs import LabelInputs, label_inputs, label_rule
from recap_core.stages.label_origin import read_rule, values_behind
from recap_core.stages.label_references import Labelled
from recap_core.stages.label_words import preset_name, rule_in_words
from recap_core.valuation.values import read_values


@dataclass(frozen=True, kw_only=True)
class Window:
    """What an advantage is the sum of: A = reward sum + value at the end - V."""

    num_frames: int
    """Frames on which time passes, from this one to the end of the window."""
    end_frame: int
    """Frame of the episode at which it ends; the episode's length where it reaches past it."""
    ends_at: str
    """Why there, in words."""
    reward_sum: float
    end_value: float
    end_value_is: str
    """What that value is, in words."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """What an advantage is measured by."""

    value: float | None
    of: str
    """Whose threshold it is, in words."""
    rank: int | None
    """1 for the largest advantage of the pool; None outside it."""
    pool_size: int | None
    num_positive: int | None
    """Of the pool."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One frame and its label."""

    label: str
    because: str
    """The rule that decided, in words."""
    episode: int
    frame: int
    index: int
    """Global index."""
    seconds: float
    task: str
    outcome: str
    driver: str
    round_index: int
    source: str
    value: float | None
    advantage: float | None
    window: Window | None
    threshold: Threshold | None
    rule: str
    preset: str | None
    labels: str
    dataset: str
    values: str | None
    value_model: str | None
    """Artifacts, as ``name-id8``."""

    def plain(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def explain_frame(source: Labelled, episode: int, frame: int, *, store: Store) -> Explanation:
    """Every number behind the label of one frame.

    Args:
        source: Labels, and the dataset whose episodes are counted.
        episode: Number of the episode.
        frame: Number of the frame in it.
        store: Where everything is.

    Raises:
        ConfigError: If there is no such episode or frame.
        CorruptArtifactError: If the stored advantage is not what values and rule lead to.
        DataError: If labels, values or dataset cannot be read.
    """
    table = read_frames(store.path(source.dataset))
    index = _index(table, episode, frame)
    marks = read_label_table(store.path(source.labels) / LABELS_FILE)
    stored = read_rule(store.path(source.labels))
    values, model = _values(source, store)
    of_frames = None if values is None else read_values(store.path(values))
    config = None if stored is None else LabelConfig.model_validate(stored["rule"])
    value = None if of_frames is None else _number(of_frames[index])
    window = threshold = None
    because = "another tool made these labels, and only it knows why"
    if config is not None and stored is not None:
        blank = np.full(table.num_frames, np.nan, dtype=np.float32)
        inputs = label_inputs(table, blank if of_frames is None else of_frames, config.frozen_arms)
        case = _Case(inputs, label_rule(config), index, episode, marks)
        window = None if of_frames is None else _window(case)
        _check(case, window, value, source)
        threshold = _threshold(case, config, stored["groups"])
        because = _because(case, config, threshold)
    return Explanation(
        label=NAMES[marks.adv_ind[index]],
        because=because,
        episode=episode,
        frame=frame,
        index=index,
        seconds=frame / table.fps,
        task=table.tasks[table.episode_tasks[episode]],
        outcome="success" if table.success[episode] else "failure",
        driver=_driver(table, index),
        round_index=int(table.rounds[episode]),
        source=table.sources[episode],
        value=value,
        advantage=_number(marks.advantage[index]),
        window=window,
        threshold=threshold,
        rule="imported" if config is None else rule_in_words(config),
        preset=None if config is None else preset_name(config),
        labels=_named(source.labels),
        dataset=_named(source.dataset),
        values=None if values is None else _named(values),
        value_model=None if model is None else _named(model),
    )


class _Case(NamedTuple):
    """The frame in question, and all that its label depends on."""

    inputs: LabelInputs
    rule: LabelRule
    frame: int
    """Global index."""
    episode: int
    marks: LabelTable

    @property
    def start(self) -> int:
        return int(self.inputs.table.episode_starts[self.episode])

    @property
    def is_skipped(self) -> bool:
        return bool(is_skipped(self.inputs.frames, self.rule)[self.frame])


def _index(table: FrameTable, episode: int, frame: int) -> int:
    num_episodes = len(table.episode_lengths)
    if not 0 <= episode < num_episodes:
        raise ConfigError(f"there is no episode {episode}; the dataset has 0 to {num_episodes - 1}")
    length = int(table.episode_lengths[episode])
    if not 0 <= frame < length:
        raise ConfigError(f"episode {episode} has no frame {frame}; it has 0 to {length - 1}")
    return int(table.episode_starts[episode]) + frame


def _window(case: _Case) -> Window | None:
    """The window of the frame; None where time stands still, or where V is not known."""
    frames, episodes, rule = case.inputs.frames, case.inputs.episodes, case.rule
    if case.is_skipped or np.isnan(frames.values[case.frame]):
        return None
    windows = frame_windows(frames, episodes, rule)
    targets = targets_of(frames, episodes, rule)
    end, skipped = int(windows.ends[case.frame]), is_skipped(frames, rule)
    inside = np.arange(case.frame, end)[~skipped[case.frame : end]]
    weights = rule.discount ** np.arange(len(inside) + 1)
    episode_end = int(case.inputs.table.episode_ends[case.episode])
    is_past = end == episode_end
    if is_past:
        ends_at = "the end of the episode"
        value_is = {
            "last_value": "V of the last frame"
            if rule.lookahead is not None
            else "0, because the return is complete",
            "zero": "0, whatever the outcome",
            "outcome": "0 after a success, -1 after a failure",
        }[rule.tail]
    elif rule.lookahead is not None and len(inside) == rule.lookahead:
        ends_at, value_is = "the end of the lookahead", f"V of frame {end - case.start}"
    else:
        ends_at, value_is = "the operator's takeover", f"V of frame {end - case.start}"
    return Window(
        num_frames=len(inside),
        end_frame=end - case.start,
        ends_at=ends_at,
        reward_sum=float(targets.window_offset + (weights[:-1] * targets.rewards[inside]).sum()),
        end_value=float(weights[-1] * windows.end_values[case.frame]),
        end_value_is=value_is,
    )


def _check(case: _Case, window: Window | None, value: float | None, source: Labelled) -> None:
    """Raise CorruptArtifactError if the numbers do not add up to the stored advantage."""
    stored = float(case.marks.advantage[case.frame])
    if window is None or value is None or np.isnan(window.end_value):
        return
    found = window.reward_sum + window.end_value - value
    if not np.isclose(found, stored, atol=1e-4):
        raise CorruptArtifactError(
            f"labels {_named(source.labels)} hold advantage {stored:.4f} for frame {case.frame}, "
            f"but their values and their rule lead to {found:.4f}. Label the dataset again."
        )


def _threshold(case: _Case, config: LabelConfig, groups: list[dict[str, Any]]) -> Threshold | None:
    table = case.inputs.table
    name, words = {
        "task": (table.tasks[table.episode_tasks[case.episode]], "of the task"),
        "source": (table.sources[case.episode], "of the source"),
        "dataset": ("the dataset", "of the whole dataset"),
    }[config.threshold_per]
    found = [g for g in groups if g["name"] == name] or (groups if len(groups) == 1 else [])
    if not found:
        return None
    rank = int(case.marks.rank[case.frame])
    sizes = _pool_sizes(case)  # labels of version 1 do not say
    return Threshold(
        value=found[0]["threshold"],
        of=words if config.threshold_per == "dataset" else f"{words} {name!r}",
        rank=None if rank < 0 else rank + 1,
        pool_size=found[0].get("pool_size", sizes[0]),
        num_positive=found[0].get("num_positive", sizes[1]),
    )


def _pool_sizes(case: _Case) -> tuple[int, int]:
    """Frames, and positive frames, of the pool of the frame's group."""
    episodes = case.inputs.episodes
    groups = group_of_episodes(episodes, case.rule.threshold.scope)
    mine = np.repeat(groups == groups[case.episode], episodes.lengths) & (case.marks.rank >= 0)
    return int(mine.sum()), int((case.marks.adv_ind[mine] == POSITIVE).sum())


def _because(case: _Case, config: LabelConfig, threshold: Threshold | None) -> str:
    """The first rule that applies, in the order in which one beats the next."""
    frames = case.inputs.frames
    lengths = case.inputs.episodes.lengths
    is_demonstration = bool(demonstration_frames(lengths, frames.is_intervention)[case.frame])
    is_correction = bool(frames.is_intervention[case.frame]) and not is_demonstration
    is_frozen = frames.is_frozen is not None and bool(frames.is_frozen[case.frame])
    leaves_frozen_out = config.frozen_arms is not None and config.frozen_arms.label == "none"
    rules = (
        (
            is_demonstration and config.demonstrations == "keep",
            "demonstrations keep the label that they came with",
        ),
        (
            is_demonstration and config.demonstrations == "positive",
            "demonstrations are positive",
        ),
        (
            case.is_skipped,
            "the robot was paused: time stands still, and there is nothing to judge",
        ),
        (
            is_correction and is_frozen and leaves_frozen_out,
            "an arm stood still in this correction, which is then no example",
        ),
        (
            is_correction and config.interventions == "positive" and not is_frozen,
            "a human corrected the policy here, and corrections are positive",
        ),
    )
    return next((words for applies, words in rules if applies), None) or _by_advantage(
        int(case.marks.adv_ind[case.frame]), config, threshold
    )


def _by_advantage(label: int, config: LabelConfig, threshold: Threshold | None) -> str:
    if threshold is None or threshold.value is None or label not in {POSITIVE, NEGATIVE}:
        return "no autonomous frame of this group sets a threshold, so nothing reaches one"
    reached = "reaches" if label == POSITIVE else "is below"
    if threshold.rank is None:
        return f"its advantage {reached} the threshold, which other frames set"
    if config.selection == "quantile" or config.threshold is not None:
        return f"its advantage {reached} the threshold"
    within = "within" if label == POSITIVE else "beyond"
    return (
        f"its advantage is number {threshold.rank:,} of {threshold.pool_size:,}, {within} the "
        f"best {threshold.num_positive:,}"
    )


def _values(source: Labelled, store: Store) -> tuple[Any, Any]:
    """The values behind the labels and the value model behind those, as far as they are kept."""
    try:
        values = values_behind(source.labels, store)
    except ArtifactNotFoundError:
        return None, None
    if values is None or values == source.labels or len(values.parents) < 2:
        return values, None
    try:
        return values, store.get(values.parents[1])
    except ArtifactNotFoundError:
        return values, None


def _driver(table: FrameTable, index: int) -> str:
    if table.is_demonstration[index]:
        return "demonstrator"
    if table.is_intervention[index]:
        return "operator"
    return "nobody (paused)" if table.is_paused[index] else "policy"


def _number(value: float | np.floating) -> float | None:
    return None if np.isnan(value) else float(value)


def _named(artifact: Any) -> str:  # noqa: ANN401 - any artifact
    return f"{artifact.name}-{artifact.id[:8]}"
