"""Robots that are known by name. Another robot is a YAML file with the same settings."""

from collections.abc import Mapping

from recap_core.config.embodiment import EmbodimentConfig, WireConfig

SIM_EMBODIMENT = EmbodimentConfig(
    state=("observation.state", "observation.environment_state"),
    normalization="z_score",
    std_floor=0.02,
    state_clip=5.0,
    asset_id="sim-aloha",
)
"""14 joint positions and the cube's pose, absolute joint targets, z-scores of demonstrations."""

YAM_EMBODIMENT = EmbodimentConfig(
    state_dim=14,
    action_dim=14,
    views={
        "base_0_rgb": "observation.images.head_camera",
        "left_wrist_0_rgb": "observation.images.left_wrist_camera",
        "right_wrist_0_rgb": "observation.images.right_wrist_camera",
    },
    delta_mask=(6, -1, 6, -1),
    asset_id="yam",
)
"""Two YAM arms and three cameras; joints relative to the current state, grippers absolute."""

ALOHA_EMBODIMENT = YAM_EMBODIMENT.model_copy(
    update={
        "views": {
            "base_0_rgb": "observation.images.cam_high",
            "left_wrist_0_rgb": "observation.images.cam_left_wrist",
            "right_wrist_0_rgb": "observation.images.cam_right_wrist",
        },
        "adapt_to_pi": True,
        "asset_id": "trossen",
    }
)
"""A standard Aloha: the layout of YAM, joints and grippers adapted to the released models."""

ALOHA_SIM_EMBODIMENT = ALOHA_EMBODIMENT.model_copy(
    update={
        "views": {"base_0_rgb": "observation.images.top"},
        "delta_mask": (),
        "asset_id": "lerobot/aloha_sim_transfer_cube_human",
    }
)
"""gym-aloha as openpi knows it: one camera, absolute actions."""

LIBERO_EMBODIMENT = EmbodimentConfig(
    state=("state",),
    action="actions",
    state_dim=8,
    action_dim=7,
    views={"base_0_rgb": "image", "left_wrist_0_rgb": "wrist_image"},
    asset_id="physical-intelligence/libero",
)
"""LIBERO in openpi's dataset: end effector pose and two fingers; actions are relative as recorded,
so nothing is subtracted. The right wrist is black and masked."""

LIBERO_V3_EMBODIMENT = LIBERO_EMBODIMENT.model_copy(
    update={
        "state": ("observation.state",),
        "action": "action",
        "views": {
            "base_0_rgb": "observation.images.image",
            "left_wrist_0_rgb": "observation.images.image2",
        },
    }
)
"""The same robot in LeRobot's own v3.0 datasets of LIBERO."""

DROID_EMBODIMENT = EmbodimentConfig(
    state=("joint_position", "gripper_position"),
    action="actions",
    state_dim=8,
    action_dim=8,
    views={"base_0_rgb": "exterior_image_1_left", "left_wrist_0_rgb": "wrist_image_left"},
    asset_id="droid",
    wire=WireConfig(cameras={}, ignored_cameras=("exterior_image_2_left",)),
)
"""DROID's Franka arm: seven joints and a gripper, joint velocities as actions."""

EMBODIMENTS: Mapping[str, EmbodimentConfig] = {
    "yam": YAM_EMBODIMENT,
    "aloha": ALOHA_EMBODIMENT,
    "aloha_sim": ALOHA_SIM_EMBODIMENT,
    "libero": LIBERO_EMBODIMENT,
    "libero_v3": LIBERO_V3_EMBODIMENT,
    "droid": DROID_EMBODIMENT,
    "sim": SIM_EMBODIMENT,
}
"""Robot by name."""
