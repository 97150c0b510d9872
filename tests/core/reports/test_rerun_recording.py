"""A rerun recording, opened again with rerun's own reader."""

import sys
from pathlib import Path

import numpy as np
import pytest

from recap_core.data.frames import read_frames
from recap_core.data.synthetic import SyntheticEpisode, SyntheticRobot, write_synthetic_dataset
from recap_core.data.video_stream import encoded_episode
from recap_core.errors import ConfigError
from recap_core.labels.adv_ind import NAMES, NEGATIVE, POSITIVE
from recap_core.reports.rerun_recording import write_recording
from recap_core.reports.tracks import DatasetTracks, Judgement

rerun = pytest.importorskip("rerun", reason="rerun-sdk is not installed: pip install rerun-sdk")

LENGTHS = (6, 9)
FPS = 10
GAP = FPS
CAMERA = "observation.images.head_camera"


@pytest.fixture(scope="module")
def tracks(tmp_path_factory: pytest.TempPathFactory) -> DatasetTracks:
    """A success and a failure with a takeover, judged by hand."""
    root = tmp_path_factory.mktemp("rerun") / "dataset"
    episodes = [
        SyntheticEpisode(length=LENGTHS[0]),
        SyntheticEpisode(length=LENGTHS[1], success=False, interventions=(4, 5)),
    ]
    robot = SyntheticRobot(arms=("left",), cameras=("head_camera",), fps=FPS)
    write_synthetic_dataset(root, episodes, robot)
    num_frames = sum(LENGTHS)
    codes = np.where(np.arange(num_frames) < 8, POSITIVE, NEGATIVE).astype(np.int8)
    judgement = Judgement(
        values=np.linspace(-1, 0, num_frames, dtype=np.float32),
        advantage=np.linspace(-0.2, 0.3, num_frames, dtype=np.float32),
        adv_ind=codes,
        thresholds={"transfer cube": 0.05},
    )
    return DatasetTracks(read_frames(root), judgement, name="monday")


@pytest.fixture(scope="module")
def rows(tracks: DatasetTracks, tmp_path_factory: pytest.TempPathFactory) -> "Rows":
    """Both episodes, written and read back."""
    path = tmp_path_factory.mktemp("rrd") / "episodes.rrd"
    write_recording(tracks, [0, 1], path)
    return Rows(path)


class Rows:
    """Rows of a recording by entity."""

    def __init__(self, path: Path) -> None:
        from rerun.chunk import RrdReader

        self.reader = RrdReader(path)
        self.chunks = self.reader.stream().collect().stream().to_chunks()

    def column(self, entity: str, component: str) -> list[tuple[int, int, float, list]]:
        """(frame, index, seconds, content) of every row that is not static, by frame."""
        found = []
        for chunk in self.chunks:
            batch = chunk.to_record_batch()
            if chunk.entity_path != f"/{entity}" or component not in batch.schema.names:
                continue
            if not chunk.is_static:
                seconds = batch.column("seconds").cast("int64").to_numpy() / 1e9
                found += zip(
                    batch.column("frame").to_pylist(),
                    batch.column("index").to_pylist(),
                    seconds.tolist(),
                    batch.column(component).to_pylist(),
                    strict=True,
                )
        return sorted(found, key=lambda row: row[0])

    def static(self, entity: str, component: str) -> list:
        """Content of a static component."""
        for chunk in self.chunks:
            batch = chunk.to_record_batch()
            if chunk.entity_path == f"/{entity}" and component in batch.schema.names:
                return batch.column(component).to_pylist()[0]
        return []


def positions() -> list[int]:
    """Where the frames of both episodes stand: a second lies between them."""
    second = LENGTHS[0] + GAP
    return [*range(LENGTHS[0]), *range(second, second + LENGTHS[1])]


@pytest.mark.parametrize(
    ("entity", "name"),
    [
        ("judgement/value_label", "value_label"),
        ("reward", "reward"),
        ("joints/state", "observation.state"),
        ("joints/action", "action"),
    ],
)
def test_columns_are_those_of_the_dataset(
    rows: Rows, tracks: DatasetTracks, *, entity: str, name: str
) -> None:
    """Every frame's numbers, at its frame, index and second; an empty row ends each episode."""
    found = rows.column(entity, "Scalars:scalars")

    frames = [row for row in found if row[3]]
    stored = tracks.table.column(name).reshape(sum(LENGTHS), -1)
    np.testing.assert_array_equal(np.array([row[3] for row in frames]), stored.astype(np.float64))
    assert [row[0] for row in frames] == positions()
    assert [row[1] for row in frames] == list(range(sum(LENGTHS)))
    np.testing.assert_allclose([row[2] for row in frames], np.array(positions()) / FPS, atol=1e-9)
    assert [row[0] for row in found if not row[3]] == [LENGTHS[0], positions()[-1] + 1]


@pytest.mark.parametrize(
    ("entity", "wanted"),
    [("judgement/value", "values"), ("advantage/advantage", "advantage")],
)
def test_judgements_are_those_given(
    rows: Rows, tracks: DatasetTracks, *, entity: str, wanted: str
) -> None:
    """V and advantage of every frame."""
    found = [row[3][0] for row in rows.column(entity, "Scalars:scalars") if row[3]]

    np.testing.assert_array_equal(found, getattr(tracks.judgement, wanted).astype(np.float64))


def held(rows: Rows, lane: str) -> list[str]:
    """State of a lane at every frame of the dataset: the last change before or at it."""
    changes = rows.column(f"lanes/{lane}", "StateChange:state")
    return [[row[3][0] for row in changes if row[0] <= frame][-1] for frame in positions()]


def test_lanes_tell_label_driver_and_phase_of_every_frame(
    rows: Rows, tracks: DatasetTracks
) -> None:
    """As text, with a colour per text, and ended behind the episode."""
    is_operator = tracks.table.is_intervention

    assert held(rows, "adv_ind") == [NAMES[code] for code in tracks.adv_ind]
    assert held(rows, "driver") == ["operator" if own else "policy" for own in is_operator]
    assert held(rows, "phase") == tracks.table.column("phase").tolist()
    assert held(rows, "episode") == ["0: success"] * LENGTHS[0] + ["1: failure"] * LENGTHS[1]
    ends = [row[0] for row in rows.column("lanes/adv_ind", "StateChange:state") if row[3] == [""]]
    assert ends == [LENGTHS[0], positions()[-1] + 1]
    assert rows.static("lanes/adv_ind", "StateConfiguration:values") == list(NAMES)
    assert len(rows.static("lanes/adv_ind", "StateConfiguration:colors")) == len(NAMES)


def test_joints_have_their_names(rows: Rows, tracks: DatasetTracks) -> None:
    """Those of the dataset's features."""
    names = tracks.table.meta.features["observation.state"]["names"]

    assert rows.static("joints/state", "SeriesLines:names") == [f"state {name}" for name in names]


def test_cameras_are_the_packets_of_the_episodes(rows: Rows, tracks: DatasetTracks) -> None:
    """One sample per frame, as it was encoded, at the frame's time."""
    found = rows.column("cameras/head_camera", "VideoStream:sample")

    meta = tracks.table.meta
    wanted = [encoded_episode(meta, CAMERA, episode) for episode in (0, 1)]
    packets = [frame.data for episode in wanted if episode for frame in episode.frames]
    assert [row[0] for row in found] == positions()
    assert [np.array(row[3][0], np.uint8).tobytes() for row in found] == packets


def test_cameras_may_be_pictures(tracks: DatasetTracks, tmp_path: Path) -> None:
    """One JPEG per frame, for viewers that play no video."""
    write_recording(tracks, [1], tmp_path / "pictures.rrd", as_pictures=True)

    found = Rows(tmp_path / "pictures.rrd").column("cameras/head_camera", "EncodedImage:blob")

    assert [row[1] for row in found] == list(range(LENGTHS[0], sum(LENGTHS)))
    assert all(bytes(np.array(row[3][0], np.uint8)[:2]) == b"\xff\xd8" for row in found)


def test_a_layout_comes_with_it(rows: Rows) -> None:
    """One recording, named after dataset and episodes, and a blueprint for it."""
    assert len(rows.reader.recordings()) == 1
    assert rows.static("__properties", "RecordingInfo:name") == ["monday episode 0, 1"]
    assert len(rows.reader.blueprints()) >= 1


def test_what_is_not_known_is_left_out(tracks: DatasetTracks, tmp_path: Path) -> None:
    """Without a judgement there is neither V nor advantage; labels are the column."""
    plain = DatasetTracks(read_frames(tracks.table.meta.root), Judgement(), name="plain")
    write_recording(plain, [1], tmp_path / "plain.rrd")

    rows = Rows(tmp_path / "plain.rrd")

    entities = {chunk.entity_path for chunk in rows.chunks}
    assert "/judgement/value_label" in entities
    assert not {"/judgement/value", "/advantage/advantage", "/advantage/threshold"} & entities
    labels = [row[3][0] for row in rows.column("lanes/adv_ind", "StateChange:state")]
    assert labels == ["none", "positive", "none", ""]


def test_a_missing_library_is_one_error(
    tracks: DatasetTracks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how to install it; nothing is written."""
    monkeypatch.setitem(sys.modules, "rerun", None)

    with pytest.raises(ConfigError, match="pip install 'rerun-sdk"):
        write_recording(tracks, [0], tmp_path / "x.rrd")

    assert not list(tmp_path.iterdir())
