"""Which dims of which actions a policy's loss counts."""

import numpy as np
import pytest

from recap_core.config.training import FrozenArmsConfig
from recap_core.data.frames import FrameTable
from recap_core.errors import ConfigError
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.training.action_masks import action_masks
from recap_core.training.policy_batches import PolicyBatches
from recap_core.training.policy_loss import PROMPT_CLASSES
from tests.core.training import robot

H, WIDTH = robot.HORIZON, robot.ACTION_DIM + 1


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    """Four synthetic episodes of 12, 15, 10 and 9 frames without images."""
    return robot.dataset(tmp_path_factory.mktemp("data") / "dataset")


def _masks(table: FrameTable, frames: list[int], **changes: object) -> np.ndarray:
    train = robot.train_policy_config().train.model_copy(update=changes)
    masks = action_masks(table, train, action="action", horizon=H, width=WIDTH)
    assert masks is not None
    return masks.at(np.array(frames))


def test_by_default_everything_counts(table: FrameTable) -> None:
    """No mask at all: the loss is computed as openpi computes it."""
    config = robot.train_policy_config()

    assert action_masks(table, config.train, action="action", horizon=H, width=WIDTH) is None
    transform = robot.policy_transform(config.policy)
    assert PolicyBatches(table, transform, config)(0).action_mask is None


def test_actions_past_the_end_of_an_episode(table: FrameTable) -> None:
    """Three actions from frame 9 of twelve are all real; from frames 10 and 11, two and one."""
    mask = _masks(table, [9, 10, 11, 12], mask_padded_actions=True)

    assert mask[:, :, 0].tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]]
    assert (mask == mask[:, :, :1]).all()


def test_dims_that_the_robot_does_not_have(table: FrameTable) -> None:
    """The robot's four dims of the model's five."""
    mask = _masks(table, [0, 20], mask_padded_dims=True)

    assert mask.shape == (2, H, WIDTH)
    assert mask.all(axis=(0, 1)).tolist() == [True, True, True, True, False]
    assert not mask[:, :, 4].any()


def test_the_arm_that_a_correction_left_alone(table: FrameTable) -> None:
    """Episode 1 corrects in frames 6-8; with the right arm held still there, it is masked there.

    Each action is masked by its own frame: a chunk that starts before the correction reaches into
    it.
    """
    actions = table.column("action").copy()
    first = int(table.episode_starts[1])
    actions[first + 6 : first + 9, 2:] = 7.0
    held = FrameTable(table.meta)
    held._columns = {name: table.column(name) for name in ("intervention",)} | {"action": actions}
    arms = FrozenArmsConfig(arms=((0, 2), (2, 4)))

    mask = _masks(held, [first + 4, first + 6, first + 8], frozen_arms=arms)

    assert mask[:, :, :2].all()
    assert mask[:, :, 2:4].any(axis=2).tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    assert mask[:, :, 4].all()


def test_masks_reach_the_batch(table: FrameTable) -> None:
    """With and without precomputed batches, row by row."""
    for state_input, length in (("continuous", 12), ("tokens", 40)):
        config = robot.train_policy_config(state_input=state_input, max_token_len=length)
        train = config.train.model_copy(update={"mask_padded_actions": True})
        config = config.model_copy(update={"train": train})
        batches = PolicyBatches(table, robot.policy_transform(config.policy), config)

        found = batches(3).action_mask

        expected = _masks(table, batches.frames(3).tolist(), mask_padded_actions=True)
        np.testing.assert_array_equal(found, expected)


def test_arms_that_the_robot_does_not_have(table: FrameTable) -> None:
    """The default arms have seven dims each; this robot has four in all."""
    with pytest.raises(ConfigError, match=r"frozen_arms.arms is .* has only 4 dims"):
        _masks(table, [0], frozen_arms=FrozenArmsConfig())


def test_arms_may_not_overlap() -> None:
    """A dim belongs to one arm."""
    with pytest.raises(ValueError, match="separate, non-empty ranges"):
        FrozenArmsConfig(arms=((0, 7), (6, 14)))


@pytest.mark.parametrize(("state_input", "length"), [("continuous", 12), ("tokens", 40)])
def test_negatives_may_train_without_their_clause(
    table: FrameTable, state_input: str, length: int
) -> None:
    """Their prompt is the plain one, the metrics still know them; other prompts do not change."""
    config = robot.train_policy_config(state_input=state_input, max_token_len=length)
    prompt = config.policy.prompt.model_copy(update={"advantage_dropout": 0.0})
    config = config.model_copy(
        update={"policy": config.policy.model_copy(update={"prompt": prompt})}
    )
    column = np.array(["negative", "positive"])[np.arange(table.num_frames) % 2]
    labelled = FrameTable(table.meta)
    labelled._columns = {"adv_ind": column}
    transform = robot.policy_transform(config.policy)
    silent = config.model_copy(
        update={"train": config.train.model_copy(update={"negatives": "unconditional"})}
    )
    said, unsaid = (PolicyBatches(labelled, transform, c)(0) for c in (config, silent))

    np.testing.assert_array_equal(said.prompt_class, unsaid.prompt_class)
    tokenizer = PromptTokenizer(prompt, length, config.policy.model.state_input)
    frames = PolicyBatches(labelled, transform, config).frames(0)
    for i, frame in enumerate(frames):
        is_negative = PROMPT_CLASSES[int(said.prompt_class[i])] == "negative"
        differs = not np.array_equal(said.inputs.tokens[i], unsaid.inputs.tokens[i])
        assert differs is is_negative
        if is_negative and state_input == "continuous":
            task = table.tasks[table.task_index[frame]]
            ids, _ = tokenizer.encode(task, None, None)
            np.testing.assert_array_equal(unsaid.inputs.tokens[i], ids)


def test_a_frame_has_its_place(table: FrameTable) -> None:
    """Episode and frame within it, which the NaN guard names."""
    places = table.places(np.array([0, 11, 12, 26, 27, 45]))

    assert places.tolist() == [[0, 0], [0, 11], [1, 0], [1, 14], [2, 0], [3, 8]]
