"""From v3.0 to v2.1 and back: the same columns and the same pictures."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recap_core.data.export_v21 import export_v21
from recap_core.data.import_v21 import import_v21
from recap_core.data.merge import merge_datasets
from recap_core.data.relabel import write_adv_ind
from tests.core.data.shared_videos import (
    AV1,
    B_FRAMES,
    H264,
    ONE_KEYFRAME,
    Encoding,
    assert_same_dataset,
    write_shared_dataset,
)


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    encoding=st.sampled_from([H264, B_FRAMES, ONE_KEYFRAME]),
)
def test_any_shared_video_goes_there_and_back(lengths: list[int], encoding: Encoding) -> None:
    """Whatever the lengths of the episodes, and wherever the keyframes are."""
    with tempfile.TemporaryDirectory() as scratch:
        source = write_shared_dataset(Path(scratch) / "v30", lengths, encoding, num_cameras=1)

        export_v21(source, Path(scratch) / "v21")
        import_v21(Path(scratch) / "v21", Path(scratch) / "back")

        assert_same_dataset(Path(scratch) / "back", source)


def test_av1_goes_there_and_back(tmp_path: Path) -> None:
    """LeRobot's default codec, cut where episodes start with a keyframe."""
    source = write_shared_dataset(tmp_path / "v30", [5, 1, 8], AV1)

    summary = export_v21(source, tmp_path / "v21")
    import_v21(tmp_path / "v21", tmp_path / "back")

    assert summary.num_encoded_videos == 0
    assert_same_dataset(tmp_path / "back", source)


def test_av1_that_must_be_encoded_anew_keeps_its_pictures(tmp_path: Path) -> None:
    """As lossless H.264, which every reader of the format decodes."""
    encoding = AV1._replace(starts_with_keyframes=False)
    source = write_shared_dataset(tmp_path / "v30", [5, 4], encoding)

    summary = export_v21(source, tmp_path / "v21")
    import_v21(tmp_path / "v21", tmp_path / "back")

    assert summary.num_encoded_videos == 2  # one episode, two cameras
    assert_same_dataset(tmp_path / "back", source)


def test_a_merged_and_relabelled_dataset_goes_there_and_back(dataset: Path, tmp_path: Path) -> None:
    """One video per episode, hard-linked several times, with the five columns and the origins."""
    merge_datasets([dataset, dataset], tmp_path / "merged")
    write_adv_ind(tmp_path / "merged", tmp_path / "v30", np.arange(92, dtype=np.int8) % 3)

    export_v21(tmp_path / "v30", tmp_path / "v21")
    import_v21(tmp_path / "v21", tmp_path / "back")

    assert_same_dataset(tmp_path / "back", tmp_path / "v30")
