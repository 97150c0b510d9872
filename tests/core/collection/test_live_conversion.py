"""What the live recorder writes, ingested and converted: each row shows the picture it saw."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from recap_core.collection.live_recorder import SessionRecorder
from recap_core.collection.live_session import SessionSettings
from recap_core.config.dataset import ConvertConfig
from recap_core.config.recording import RecordingConfig
from recap_core.data.frames import read_frames
from recap_core.data.video import iter_camera_blocks
from recap_core.lineage.store import Store
from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import CAMERA_TIMES, ArmLayout, LiveFrame
from recap_core.rollout.phase import Phase
from recap_core.stages.convert import convert_recording
from recap_core.stages.ingest import describe_session, ingest_recording
from tests.core.collection.live_cell import FPS, START_S, frame_of, number_of, robot

NUM_TICKS = 24
LOST = {"head_camera": {5, 6, 13}, "wrist_camera": {0, 23}}
PAUSED, CORRECTING = range(8, 11), range(11, 16)
LEADERS = (ArmLayout("leader_left", tuple(range(6)), (6,)),)


def tick(number: int) -> LiveFrame:
    """A policy is interrupted, then corrected; each camera loses images, one sees late."""
    lost = [camera for camera, numbers in LOST.items() if number in numbers]
    phase = Phase.AUTONOMOUS
    if number in PAUSED:
        phase = Phase.PAUSED
    if number in CORRECTING:
        phase = Phase.CORRECTING
    changes = {"policy_action": None, "policy_id": ""} if phase is Phase.PAUSED else {}
    late_s = {"head_camera": START_S + number / FPS - 0.012}
    return frame_of(
        number,
        without=lost,
        observation={CAMERA_TIMES: late_s},
        phase=phase,
        correction_index=int(number >= CORRECTING[0]),
        leader_state=np.full(7, 5.0, np.float32),
        **changes,
    )


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes, a success and a failure."""
    recorder = SessionRecorder(
        RecordingConfig(
            base_dir=tmp_path_factory.mktemp("live"), disk_reserve_bytes=0, finish_timeout_s=600
        ),
        SessionSettings("fold the shirt", round_index=2),
        robot(leaders=LEADERS),
    )
    for outcome in (Outcome.SUCCESS, Outcome.FAILURE):
        recorder.start()
        for number in range(NUM_TICKS):
            recorder.record(tick(number))
        assert recorder.finish(outcome).num_dropped == 5
    recorder.close()
    return recorder.directory


def shown(camera: str, tick_numbers: Sequence[int]) -> list[int]:
    """Pictures that were newest in these ticks; before the first there is only the next one."""
    kept = [number for number in range(NUM_TICKS) if number not in LOST[camera]]
    return [max((k for k in kept if k <= number), default=kept[0]) for number in tick_numbers]


@pytest.mark.parametrize("target_fps", [None, 10], ids=["as recorded", "10 Hz"])
def test_every_row_shows_what_was_seen(
    session: Path, tmp_path: Path, target_fps: int | None
) -> None:
    """Lost images repeat the one before, also at another rate."""
    store = Store(tmp_path / "home")
    found = describe_session(session, store=store)
    assert (found.mode, found.round_index) == ("rollout", 2)
    recording = ingest_recording(session, found, name="day", store=store)
    assert (recording.num_frames, recording.num_intervention_frames) == (48, 10)
    dataset = convert_recording(
        recording, ConvertConfig(target_fps=target_fps), name="day", store=store
    )

    rows = read_frames(store.path(dataset))
    ticks = list(range(0, NUM_TICKS, FPS // (target_fps or FPS)))
    assert rows.num_frames == 2 * len(ticks)
    state = rows.column("observation.state")
    np.testing.assert_allclose(state, np.tile(0.01 * np.array(ticks * 2)[:, None], 14), atol=1e-5)
    phase = np.array([tick(number).phase.value for number in ticks * 2])
    np.testing.assert_array_equal(rows.column("intervention"), phase == "correcting")
    (block,) = iter_camera_blocks(store.path(dataset), rows.meta.cameras, block=1000)
    for camera in LOST:
        images = block.images[f"observation.images.{camera}"]
        assert [number_of(image) for image in images] == 2 * shown(camera, ticks)
