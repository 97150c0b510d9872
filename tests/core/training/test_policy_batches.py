"""Batches for the policy: what they hold, and that a step decides it."""

import jax
import numpy as np
import pytest

from recap_core.config.stages import TrainPolicyConfig
from recap_core.config.training import SamplingConfig
from recap_core.data.batches import FrameOrder
from recap_core.data.frames import FrameTable
from recap_core.data.image_feed import ImageFeed, ImageSource
from recap_core.data.shards import Shard
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.training.policy_batches import PolicyBatches
from recap_core.training.policy_loss import PROMPT_CLASSES
from recap_core.transforms.normalize import FeatureStats, NormStats
from recap_core.transforms.policy_transform import PolicyTransform
from tests.core.training import robot

NEGATIVE, NONE, POSITIVE, DROPPED = range(4)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> FrameTable:
    """Four synthetic episodes without images."""
    return robot.dataset(tmp_path_factory.mktemp("data") / "dataset")


def _batches(
    table: FrameTable,
    config: TrainPolicyConfig,
    *,
    images: ImageSource | None = None,
    shard: Shard = Shard(),
) -> PolicyBatches:
    transform = robot.policy_transform(config.policy)
    return PolicyBatches(table, transform, config, images=images, shard=shard)


class Numbered:
    """Images whose every pixel is the number of its frame."""

    def feed(self, order: FrameOrder, rows: slice) -> ImageFeed:
        """Of the batch of a step."""
        return lambda step: {
            "observation.images.x": np.tile(
                order.indices(step)[rows, None, None, None].astype(np.uint8), (1, 14, 14, 3)
            )
        }


def _seeing(**changes: object) -> TrainPolicyConfig:
    """A policy with one view."""
    config = robot.train_policy_config(views=("base_0_rgb",), image_px=14, **changes)
    embodiment = robot.EMBODIMENT.model_copy(
        update={"views": {"base_0_rgb": "observation.images.x"}}
    )
    policy = config.policy.model_copy(update={"embodiment": embodiment})
    return config.model_copy(update={"policy": policy})


def _config(*, dropout: float = 0.3, **changes: object) -> TrainPolicyConfig:
    config = robot.train_policy_config()
    prompt = config.policy.prompt.model_copy(update={"advantage_dropout": dropout})
    policy = config.policy.model_copy(update={"prompt": prompt})
    return config.model_copy(update={"policy": policy, **changes})


def test_a_batch_by_hand(table: FrameTable) -> None:
    """State and the three following actions of a frame, normalised, padded, last one repeated."""
    batches = _batches(table, _config())
    batch, frames = batches(5), batches.frames(5)

    for i, frame in enumerate(frames):
        state = table.column("observation.state")[frame]
        np.testing.assert_allclose(batch.inputs.state[i, :4], (state - 0.5) / 2, atol=1e-5)
        end = table.episode_ends[table.episode_index[frame]] - 1
        for h in range(robot.HORIZON):
            action = table.column("action")[min(frame + h, end)]
            np.testing.assert_allclose(batch.actions[i, h, :4], (action - 0.5) / 2, atol=1e-5)
    assert np.all(np.asarray(batch.actions)[:, :, 4] == 0)


def test_an_action_of_one_dimension(table: FrameTable) -> None:
    """A column of numbers is a vector of one: the label of a frame and of the two after it."""
    config = _config()
    embodiment = robot.EMBODIMENT.model_copy(
        update={"state": ("value_label",), "action": "reward_label"}
    )
    policy = config.policy.model_copy(update={"embodiment": embodiment})
    unit = FeatureStats(mean=np.zeros(1), std=np.ones(1))
    transform = PolicyTransform(
        policy,
        NormStats({"state": unit, "actions": unit}),
        PromptTokenizer(policy.prompt, policy.model.max_token_len, policy.model.state_input),
        state_dim=1,
        action_dim=1,
    )
    batches = PolicyBatches(table, transform, config.model_copy(update={"policy": policy}))

    actions, frames = np.asarray(batches(5).actions), batches.frames(5)

    ends = table.episode_ends[table.episode_index[frames]] - 1
    wanted = np.minimum(frames[:, None] + np.arange(robot.HORIZON), ends[:, None])
    np.testing.assert_allclose(actions[..., 0], table.column("reward_label")[wanted], atol=1e-5)
    assert not actions[..., 1:].any()


def test_the_default_prompt_is_trained_on_in_place_of_the_task_text(table: FrameTable) -> None:
    """As in the reference, where a config with a default prompt never reads the dataset's tasks."""
    config = _config(condition="positive", dropout=0)
    embodiment = robot.EMBODIMENT.model_copy(update={"default_prompt": "insert peg"})
    policy = config.policy.model_copy(update={"embodiment": embodiment})
    tokenizer = PromptTokenizer(policy.prompt, policy.model.max_token_len, "continuous")

    batch = _batches(table, config.model_copy(update={"policy": policy}))(5)

    expected, _ = tokenizer.encode("insert peg", None, "positive")
    np.testing.assert_array_equal(batch.inputs.tokens, np.tile(expected, (8, 1)))


def test_a_batch_depends_on_seed_and_step_alone(table: FrameTable) -> None:
    """Asked twice, in any order, the same step gives the same bits; another step others."""
    first = [_batches(table, _config())(step) for step in (0, 1, 2)]
    batches = _batches(table, _config())
    again = [batches(step) for step in (2, 1, 0)][::-1]

    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first[0].actions, first[1].actions)


def test_prompts_say_what_the_dataset_says(table: FrameTable) -> None:
    """Without dropout every prompt carries the frame's task and its class."""
    config = _config(dropout=0.0)
    batches = _batches(table, config)
    tokenizer = PromptTokenizer(config.policy.prompt, 12, "continuous")

    for step in range(4):
        batch = batches(step)
        for i, frame in enumerate(batches.frames(step)):
            adv_ind = str(table.column("adv_ind")[frame])
            ids, mask = tokenizer.encode(table.tasks[table.task_index[frame]], None, adv_ind)
            np.testing.assert_array_equal(batch.inputs.tokens[i], ids)
            np.testing.assert_array_equal(batch.inputs.token_mask[i], mask)
            assert PROMPT_CLASSES[int(batch.prompt_class[i])] == adv_ind


def test_dropout_leaves_the_clause_out_at_its_rate(table: FrameTable) -> None:
    """30 % of the samples lose the clause, give or take four standard errors."""
    config = _config(dropout=0.3)
    batches = _batches(table, config)
    tokenizer = PromptTokenizer(config.policy.prompt, 12, "continuous")
    plain = {tokenizer.encode(task, None, None)[0].tobytes() for task in table.tasks}

    samples = [batches(step) for step in range(500)]
    classes = np.concatenate([batch.prompt_class for batch in samples])
    tokens = np.concatenate([batch.inputs.tokens for batch in samples])

    assert np.mean(classes == DROPPED) == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 4000))
    has_no_clause = np.array([row.tobytes() in plain for row in tokens])
    np.testing.assert_array_equal(has_no_clause, classes == DROPPED)


def test_dropout_is_independent_of_which_frames_are_drawn(table: FrameTable) -> None:
    """Sampler and dropout use different random numbers: intervention frames lose no more."""
    batches = _batches(table, _config(dropout=0.5))
    frames = np.concatenate([batches.frames(step) for step in range(500)])
    dropped = np.concatenate([batches(step).prompt_class for step in range(500)]) == DROPPED

    assert abs(np.corrcoef(frames, dropped)[0, 1]) < 4 / np.sqrt(len(frames))


def test_a_condition_replaces_the_datasets_classes(table: FrameTable) -> None:
    """SFT says ``positive`` of every frame, whatever the column holds."""
    batches = _batches(table, _config(dropout=0.0, condition="positive"))

    assert set(batches(0).prompt_class.tolist()) == {POSITIVE}


def test_every_frame_may_be_drawn_but_paused_ones(table: FrameTable) -> None:
    """Uniform sampling reaches all 46 frames except the paused one."""
    batches = _batches(table, _config())

    drawn = set(np.concatenate([batches.frames(step) for step in range(200)]).tolist())

    assert set(range(46)) - drawn == set(np.flatnonzero(table.is_paused))


def test_half_of_a_batch_may_come_from_experts(table: FrameTable) -> None:
    """With expert_fraction 0.5, four of eight frames are corrections."""
    config = _config()
    train = config.train.model_copy(update={"sampling": SamplingConfig(expert_fraction=0.5)})
    batches = _batches(table, config.model_copy(update={"train": train}))

    for step in range(5):
        assert table.is_intervention[batches.frames(step)].sum() == 4


def test_state_in_the_prompt_is_written_batch_by_batch(table: FrameTable) -> None:
    """With state tokens nothing can be precomputed, and each prompt holds its frame's bins."""
    config = robot.train_policy_config(state_input="tokens", max_token_len=40)
    batches = _batches(table, config)
    tokenizer = PromptTokenizer(config.policy.prompt, 40, "tokens")
    batch = batches(0)

    frame, prompt_class = int(batches.frames(0)[0]), int(batch.prompt_class[0])
    adv_ind = None if prompt_class == DROPPED else PROMPT_CLASSES[prompt_class]
    state = (table.column("observation.state")[frame].astype(np.float64) - 0.5) / (2 + 1e-6)
    ids, _ = tokenizer.encode(table.tasks[table.task_index[frame]], state, adv_ind)
    np.testing.assert_array_equal(batch.inputs.tokens[0], ids)


def test_images_come_from_their_frames(table: FrameTable) -> None:
    """A model with a view gets the drawn frames' images, scaled to [-1, 1]."""
    batches = _batches(table, _seeing(), images=Numbered())

    batch = batches(0)

    grey = np.asarray(batch.inputs.images["base_0_rgb"])[:, 0, 0, 0]
    np.testing.assert_allclose((grey + 1) / 2 * 255, batches.frames(0), atol=1e-3)


@pytest.mark.parametrize("order", ["random", "blocks"])
def test_the_shards_of_a_batch_are_the_batch(table: FrameTable, order: str) -> None:
    """Two processes' rows, in order, are a single process's: frames, dropped clauses, images."""
    config = _seeing()
    sampling = SamplingConfig.model_validate({"order": order, "block_episodes": 2})
    train = config.train.model_copy(update={"sampling": sampling})
    config = config.model_copy(update={"train": train})
    whole = _batches(table, config, images=Numbered())
    parts = [_batches(table, config, images=Numbered(), shard=Shard(i, 2)) for i in range(2)]

    for step in range(4):
        union = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[p(step) for p in parts])
        jax.tree.map(np.testing.assert_array_equal, union, whole(step))
        frames = np.concatenate([part.frames(step) for part in parts])
        np.testing.assert_array_equal(frames, whole.frames(step))
