"""A robot that exists on paper, and frames whose images say which tick they are of."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from recap_core.rollout.live import ArmLayout, CameraFormat, LiveFrame, RobotDescription
from recap_core.rollout.phase import Phase

HEIGHT_PX, WIDTH_PX = 32, 128
NUM_BITS = 8
START_S = 1_700_000_000.0
FPS = 30
DARK, BRIGHT = 40, 210


def robot(**changes: Any) -> RobotDescription:  # noqa: ANN401 - fields
    """Two arms of six joints and a gripper, two cameras."""
    size = CameraFormat(HEIGHT_PX, WIDTH_PX)
    described = RobotDescription(
        robot_type="paper",
        fps=FPS,
        arms=(
            ArmLayout("left", tuple(range(6)), (6,)),
            ArmLayout("right", tuple(range(7, 13)), (13,)),
        ),
        cameras={"head_camera": size, "wrist_camera": size},
    )
    return described._replace(**changes)


def image_of(number: int, size: CameraFormat = CameraFormat(HEIGHT_PX, WIDTH_PX)) -> np.ndarray:
    """Eight bars, bright where the bit of the number is set."""
    bits = [BRIGHT if number >> bit & 1 else DARK for bit in range(NUM_BITS)]
    row = np.repeat(np.array(bits, dtype=np.uint8), size.width_px // NUM_BITS)
    return np.broadcast_to(row[None, :, None], (size.height_px, len(row), 3)).copy()


def number_of(image: np.ndarray) -> int:
    """The number that :func:`image_of` wrote, also after compression."""
    bars = image.mean(axis=(0, 2)).reshape(NUM_BITS, -1).mean(axis=1)
    return sum(1 << bit for bit, bar in enumerate(bars) if bar > (DARK + BRIGHT) / 2)


def frame_of(
    number: int,
    *,
    without: Iterable[str] = (),
    **changes: Any,  # noqa: ANN401 - fields
) -> LiveFrame:
    """Tick ``number`` at ``START_S + number / FPS``; state and action rise by 0.01 a tick.

    Args:
        number: From 0.
        without: Cameras whose image is missing in this tick.
        changes: Other values of the frame; those under ``observation`` are added to it.
    """
    cameras = ("head_camera", "wrist_camera")
    observation: dict[str, Any] = {"observation.state": np.full(14, 0.01 * number, np.float32)}
    for camera in cameras:
        if camera not in without:
            observation[f"observation.images.{camera}"] = image_of(number)
    extra: Mapping[str, Any] = changes.pop("observation", {})
    frame = LiveFrame(
        time_s=START_S + number / FPS,
        observation={**observation, **extra},
        action=np.full(14, 0.01 * number + 0.005, np.float32),
        phase=Phase.AUTONOMOUS,
        correction_index=0,
        policy_action=np.full(14, -1.0, np.float32),
        policy_id="policy-a",
    )
    return frame._replace(**changes)
