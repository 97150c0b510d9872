"""Corrections after the fact, from the artifact to the datasets made with it."""

import numpy as np
import pytest

from recap_core.config.annotations import AnnotateConfig, EpisodeAnnotation
from recap_core.config.base import Config
from recap_core.config.dataset import ConvertConfig, MergeConfig
from recap_core.data.annotations import EpisodeKey
from recap_core.data.frames import read_frames
from recap_core.data.synthetic import SyntheticRobot, write_synthetic_recording
from recap_core.errors import DataError
from recap_core.lineage.artifacts import Recording
from recap_core.lineage.keys import Stage
from recap_core.lineage.links import link_tree
from recap_core.lineage.store import Build, Built, Store
from recap_core.stages.annotate import annotate_episodes, annotations_of, read_corrections
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
    """What a later entry leaves out stays; what it says counts, also that a mark was right."""
    first = annotate_episodes(
        recording,
        annotated(
            EpisodeAnnotation(episode=FIRST, outcome="failure", excluded=True),
            EpisodeAnnotation(episode=LAST, excluded=True),
        ),
        name="first",
        store=store,
    )
    second = annotate_episodes(
        recording,
        annotated(
            EpisodeAnnotation(episode=FIRST, note="looked again"),
            EpisodeAnnotation(episode=LAST, excluded=False, outcome="success"),
        ),
        earlier=first,
        name="second",
        store=store,
    )
    third = annotate_episodes(
        recording,
        annotated(EpisodeAnnotation(episode=FIRST, outcome="recorded", excluded=False)),
        earlier=second,
        name="third",
        store=store,
    )

    found = {key.episode: entry for key, entry in read_corrections(second, store).items()}
    assert found[FIRST] == ("failure", True, "looked again")
    assert found[LAST] == ("success", False, "")
    assert read_corrections(third, store)[EpisodeKey(recording.id, FIRST)].outcome is None
    assert (third.num_changed, third.num_excluded) == (1, 0)


def test_a_name_wins_over_a_number_and_an_episode_is_said_once(
    store: Store, recording: Recording
) -> None:
    """After an exclusion numbers and names run apart: each means what it says."""
    dataset = convert_recording(recording, ConvertConfig(), name="plain", store=store)
    excluded = annotate_episodes(
        dataset, annotated(EpisodeAnnotation(episode="0", excluded=True)), name="x", store=store
    )
    fewer = merge_datasets(
        [dataset], MergeConfig(), annotations=excluded, name="fewer", store=store
    )

    by_number = annotate_episodes(
        fewer, annotated(EpisodeAnnotation(episode="0", note="n")), name="x", store=store
    )
    second = "episode_20240101_120000_0001"
    assert list(read_corrections(by_number, store)) == [EpisodeKey(recording.id, second)]
    twice = annotated(
        EpisodeAnnotation(episode="0", excluded=True),
        EpisodeAnnotation(episode=second, outcome="failure"),
    )
    with pytest.raises(DataError, match=f"'0' and '{second}' of fewer are the same one"):
        annotate_episodes(fewer, twice, name="x", store=store)


def test_a_corrected_demonstration_is_the_same_by_either_way(
    store: Store, recording: Recording
) -> None:
    """A demonstration that failed after all: corrected when converted, or when merged."""
    demonstrations = ConvertConfig(demonstrations=True)
    taught = _as_demonstration(recording, store)
    failed = annotate_episodes(
        taught,
        annotated(EpisodeAnnotation(episode=FIRST, outcome="failure")),
        name="x",
        store=store,
    )

    converted = convert_recording(
        taught, demonstrations, annotations=failed, name="converted", store=store
    )
    plain = convert_recording(taught, demonstrations, name="demonstrations", store=store)
    merged = merge_datasets([plain], MergeConfig(), annotations=failed, name="merged", store=store)

    one, other = (read_frames(store.path(dataset)) for dataset in (converted, merged))
    assert one.success.tolist() == other.success.tolist() == [False, True, True, True]
    for name in ("reward", "reward_label", "value_label", "adv_ind", "intervention"):
        np.testing.assert_array_equal(one.column(name), other.column(name))


def test_a_recording_is_concerned_by_what_is_said_of_its_own_episodes(
    store: Store, recording: Recording
) -> None:
    """Another recording's corrections convert this one no second time."""
    other = _as_demonstration(recording, store)
    said = annotate_episodes(
        other, annotated(EpisodeAnnotation(episode=FIRST, excluded=True)), name="x", store=store
    )

    assert annotations_of(other, said, store) == said
    assert annotations_of(recording, said, store) is None
    assert annotations_of(recording, None, store) is None


def _as_demonstration(recording: Recording, store: Store) -> Recording:
    def build(area: Build) -> Built:
        link_tree(store.path(recording), area.output, digests=None)
        return Built({**recording.details(), "mode": "demonstration"})

    return store.produce(Stage("taught", 1, Recording), Config(), {}, name="taught", build=build)


def test_an_unknown_episode_is_named(store: Store, recording: Recording) -> None:
    """With the episodes there are; no artifact appears."""
    before = len(list(store.artifacts()))

    with pytest.raises(
        DataError, match=r"no episode 'episode_7', or more than one; it has episode_20240101"
    ):
        annotate_episodes(
            recording, annotated(EpisodeAnnotation(episode="episode_7")), name="x", store=store
        )
    assert len(list(store.artifacts())) == before
