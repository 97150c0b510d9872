"""The card of a dataset."""

import numpy as np

from recap_core.data.columns import ADV_IND, CORRECTION_INDEX, PHASE, VALUE_LABEL
from recap_core.data.frames import FrameTable, read_frames
from recap_core.data.overview import Overview, read_overview
from recap_core.hub.card_parts import (
    CardOptions,
    annotations_part,
    labels_part,
    making_part,
    missing_limits,
    recordings_part,
    rounds_line,
)
from recap_core.hub.markdown import bullets, code, page, plain, table
from recap_core.labels.adv_ind import NAMES
from recap_core.lineage.artifacts import AnyDataset
from recap_core.lineage.snapshot import Snapshot
from recap_core.reports.numbers import count, duration, percent
from recap_core.stages.trace import trace
from recap_core.stages.trace_content import Origin

_COLUMNS = {
    "intervention": "1 where a human drove the robot, else 0",
    "reward": "1 at the last frame of a successful episode, else 0",
    "reward_label": "-1/T at every frame of an episode of T frames, 0 at the last one",
    VALUE_LABEL: "the return from the frame on: -(T-1-t)/T in a success, -1 in a failure",
    ADV_IND: "`positive`, `negative` or `none`: whether the action was better than what the policy "
    "does on average there; frames of a human are positive unless the rule below says otherwise, "
    "`none` is not labelled. A policy reads it in its prompt, and acts with `positive`",
    PHASE: "`autonomous`, `paused` or `correcting`",
    CORRECTION_INDEX: "corrections begun up to the frame",
}


def dataset_card(snapshot: Snapshot, dataset: AnyDataset, options: CardOptions) -> str:
    """``README.md`` of a dataset: front matter that the hub reads, and text for people.

    Args:
        snapshot: The store that the dataset is in.
        dataset: LeRobot v3.0, its content verified.
        options: What lineage cannot know.

    Raises:
        DataError: If the dataset is incomplete.
        ColumnError: If it lacks a RECAP column.
    """
    from huggingface_hub import DatasetCardData

    origin = trace(snapshot, dataset, "back").origin
    assert origin is not None  # noqa: S101 - the way back was asked for
    root = snapshot.store.path(dataset)
    overview, frames = read_overview(root), read_frames(root, [ADV_IND])
    front = DatasetCardData(
        license=options.license,
        task_categories=["robotics"],
        tags=["LeRobot", "recap", *filter(None, [frames.meta.robot_type])],
        configs=[{"config_name": "default", "data_files": "data/*/*.parquet"}],
    )
    return f"---\n{front.to_yaml()}\n---\n\n" + page(
        plain(dataset.name),
        [
            ("", _summary(dataset, overview, origin)),
            ("Load it", _loading(options)),
            ("What is in it", _contents(frames, overview)),
            ("RECAP columns", _columns(frames)),
            ("Labels", _labels(frames, origin, snapshot.parent(dataset.id, "labels"))),
            ("Where it comes from", _origin(origin, options)),
            ("How it was made", making_part(snapshot.store.manifest(dataset), origin)),
            ("Limits", _limits(overview, origin)),
        ],
    )


def _summary(dataset: AnyDataset, overview: Overview, origin: Origin) -> str:
    hours = duration(overview.num_frames / dataset.fps)
    tasks = ", ".join(f'"{plain(task)}"' for task in dataset.tasks[:5])
    more = f" and {len(dataset.tasks) - 5} more" if len(dataset.tasks) > 5 else ""
    return (
        f"A LeRobot v3.0 dataset of {count(overview.num_episodes)} robot episodes ({hours}): "
        f"{tasks}{more}. Besides observations and actions it says of every frame who drove, how "
        "the episode ended, and whether the action helped: what a policy learns from with RECAP, "
        "by its own experience and by corrections.\n\n" + rounds_line(origin)
    ).strip()


def _loading(options: CardOptions) -> str:
    lerobot = f"""
from lerobot.datasets.lerobot_dataset import LeRobotDataset

dataset = LeRobotDataset("{options.repo}")
"""
    recap = f"""
hf download {options.repo} --repo-type dataset --local-dir {options.directory}
recap import {options.directory}
"""
    return f"{code(lerobot, 'python')}\n\nWith recap, for training:\n\n{code(recap, 'sh')}"


def _contents(frames: FrameTable, overview: Overview) -> str:
    features = frames.meta.features
    failures = overview.num_episodes - overview.num_successes
    rounds = sorted(set(frames.rounds.tolist()))
    rows = [
        ("episodes", f"{count(overview.num_episodes)}, of rounds {', '.join(map(str, rounds))}"),
        ("frames", f"{count(overview.num_frames)} at {frames.fps} fps"),
        ("outcomes", f"{count(overview.num_successes)} successes, {count(failures)} failures"),
        ("driven by hand", f"{percent(overview.intervention_share)} of the frames"),
        ("demonstrations", f"{count(overview.num_demonstrations)} episodes, by hand throughout"),
        ("paused", f"{count(overview.num_paused_frames)} frames"),
    ]
    if frames.meta.robot_type:
        rows.append(("robot", plain(frames.meta.robot_type)))
    for name, feature in features.items():
        shape = " x ".join(map(str, feature["shape"]))
        if feature["dtype"] == "video":
            rows.append((f"`{name}`", f"video, {shape}"))
        elif name == "action" or name.startswith("observation."):
            rows.append((f"`{name}`", f"{feature['dtype']}, {shape}"))
    by_task = np.bincount(frames.episode_tasks, minlength=len(frames.tasks))
    rows += [
        (f'task "{plain(task)}"', f"{count(int(number))} episodes")
        for task, number in zip(frames.tasks[:20], by_task[:20], strict=True)
    ]
    return table(["", ""], rows)


def _columns(frames: FrameTable) -> str:
    features = frames.meta.features
    return table(
        ["column", "type", "meaning"],
        [
            (f"`{name}`", features[name]["dtype"], meaning)
            for name, meaning in _COLUMNS.items()
            if name in features
        ],
    )


def _labels(frames: FrameTable, origin: Origin, labels_id: str | None) -> str:
    column = frames.column(ADV_IND)
    found = [f"{count(int((column == name).sum()))} `{name}`" for name in reversed(NAMES)]
    labels = next((each for each in origin.labels if each.of.id == labels_id), None)
    given = labels_part(labels, origin.value_models)
    if not given:
        given = "No advantage was computed: `adv_ind` is what the recorder or the source said."
    return f"`adv_ind` of the frames: {', '.join(found)}.\n\n{given}"


def _origin(origin: Origin, options: CardOptions) -> str:
    parts = [recordings_part(origin.recordings, options), annotations_part(origin.annotations)]
    return "\n\n".join(part for part in parts if part)


def _limits(overview: Overview, origin: Origin) -> str:
    lines = missing_limits(origin)
    if not origin.recordings:
        lines.append("No recording is known: it was imported, and what its source said was kept.")
    if overview.num_successes in {0, overview.num_episodes}:
        lines.append("All episodes ended alike: a value model cannot learn success from it alone.")
    if not overview.num_intervention_frames:
        lines.append("Nobody stepped in: it holds no corrections.")
    lines.append("Outcomes are what an operator, or a simulator, said at the end of an episode.")
    lines.append("Labels compare a frame with this dataset's policies; they are no ground truth.")
    return bullets(lines)
