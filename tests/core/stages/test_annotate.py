"""Corrections after the fact, from the artifact to the datasets made with it."""

import pytest

from recap_core.config.annotations import AnnotateConfig, EpisodeAnnotation
from recap_core.config.base import Config
from recap_core.config.dataset import ConvertConfig, MergeConfig
from recap_core.data.frames import read_frames
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_recording
from recap_core.errors import DataError
from recap_core.lineage.artifacts import Recording
from recap_core.lineage.keys import Stage
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.annotate import annotate_episodes, read_corrections
from recap_core.stages.convert import convert_recording
from recap_core.stages.merge import merge_datasets

FIRST, LAST = "episode_20240101_120000_0000", "episode_20240101_120000_0003"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def recording(store: Store) -> Recording:
    """Four episodes: success, success, failure, failure."""

    def build(area: Build) -> Built:
        write_synthetic_recording(area.output, robot=SyntheticRobot(cameras=()))
        return Built(
            {
                "num_episodes": 4,
                "num_frames": 46,
                "num_successes": 2,
                "num_intervention_frames": 5,
                "fps": 10,
                "task": "transfer cube",
                "mode": "rollout",
                "round_index": 1,
            }
        )

    return store.produce(Stage("synthetic", 1, Recording), Config(), {}, name="day", build=build)


def annotated(*episodes: EpisodeAnnotation) -> AnnotateConfig:
    return AnnotateConfig(episodes=episodes)


def test_conversion_applies_them(store: Store, recording: Recording) -> None:
    """The dataset made with annotations is another one, and has what they say."""
    config = annotated(
        EpisodeAnnotation(episode=FIRST, excluded=True),
        EpisodeAnnotation(episode=LAST, outcome="success", note="seen on video"),
    )
    annotations = annotate_episodes(recording, config, name="corrections", store=store)

    plain = convert_recording(recording, ConvertConfig(), name="plain", store=store)
    corrected = convert_recording(
        recording, ConvertConfig(), annotations=annotations, name="corrected", store=store
    )

    assert (annotations.num_changed, annotations.num_excluded) == (1, 1)
    assert annotations.id in corrected.parents
    assert read_frames(store.path(plain)).success.tolist() == [True, True, False, False]
    assert read_frames(store.path(corrected)).success.tolist() == [True, False, True]


def test_a_merged_dataset_can_be_annotated_by_number(store: Store, recording: Recording) -> None:
    """What is said of a dataset's episode is said of the raw episode, wherever it is merged."""
    dataset = convert_recording(recording, ConvertConfig(), name="plain", store=store)
    merged = merge_datasets([dataset], MergeConfig(repeats=(2,)), name="twice", store=store)

    annotations = annotate_episodes(
        merged, annotated(EpisodeAnnotation(episode="5", excluded=True)), name="x", store=store
    )
    again = merge_datasets(
        [dataset], MergeConfig(), annotations=annotations, name="again", store=store
    )

    (key,) = read_corrections(annotations, store)
    assert key == (recording.id, "episode_20240101_120000_0001")
    assert read_frames(store.path(again)).episode_lengths.tolist() == [12, 10, 9]


def test_later_annotations_build_on_earlier_ones(store: Store, recording: Recording) -> None:
    """An entry replaces the earlier one of its episode; the others stay."""
    first = annotate_episodes(
        recording,
        annotated(
            EpisodeAnnotation(episode=FIRST, outcome="failure"),
            EpisodeAnnotation(episode=LAST, excluded=True),
        ),
        name="first",
        store=store,
    )
    second = annotate_episodes(
        recording,
        annotated(EpisodeAnnotation(episode=FIRST, note="looked again: fine")),
        earlier=first,
        name="second",
        store=store,
    )

    assert (second.num_changed, second.num_excluded) == (0, 1)
    notes = {key.episode: entry.note for key, entry in read_corrections(second, store).items()}
    assert notes == {FIRST: "looked again: fine", LAST: ""}


def test_an_unknown_episode_is_named(store: Store, recording: Recording) -> None:
    """With the episodes there are; no artifact appears."""
    before = len(list(store.artifacts()))

    with pytest.raises(DataError, match=r"no episode 'episode_7'; it has episode_20240101"):
        annotate_episodes(
            recording, annotated(EpisodeAnnotation(episode="episode_7")), name="x", store=store
        )
    assert len(list(store.artifacts())) == before
