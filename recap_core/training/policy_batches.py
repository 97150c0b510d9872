"""Batches for the policy, each a function of its step alone."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from recap_core.config.stages import TrainPolicyConfig
from recap_core.data.batches import PausedRule, action_chunks, frame_sampler
from recap_core.data.columns import ADV_IND
from recap_core.data.frames import FrameTable
from recap_core.data.image_feed import Images, ImageSource
from recap_core.data.shards import Shard
from recap_core.errors import ColumnError
from recap_core.models.policy import PolicyInputs
from recap_core.training.action_masks import action_masks
from recap_core.training.observations import FrameObservations
from recap_core.training.policy_loss import PROMPT_CLASSES, PolicyBatch
from recap_core.transforms.policy_transform import PolicyTransform

_DROPPED = PROMPT_CLASSES.index("dropped")
_MAX_PRECOMPUTED_BYTES = 1 << 30
_BLOCK = 4096


class _Precomputed(NamedTuple):
    """Everything that batches of a model without images and state text are made of."""

    state: Float[np.ndarray, "n s"]
    actions: Float[np.ndarray, "n h a"]
    tokens: Int[np.ndarray, "tasks classes l"]
    token_mask: Bool[np.ndarray, "tasks classes l"]


class PolicyBatches:
    """Frames drawn by a sampler, with their prompts and the actions that follow them.

    Where the model sees no images and no state text, everything is computed once, and a batch is
    nothing but indexing.
    """

    def __init__(  # noqa: PLR0913 - options are keyword-only
        self,
        table: FrameTable,
        transform: PolicyTransform,
        config: TrainPolicyConfig,
        *,
        images: ImageSource | None = None,
        paused_frames: PausedRule = "skip",
        shard: Shard = Shard(),
    ) -> None:
        """Prepare batches.

        Args:
            table: The dataset.
            transform: From the dataset's observations and actions to the model's.
            config: Sampling, prompt and condition.
            images: Camera images, for a model that sees any.
            paused_frames: ``skip`` never draws a paused frame.
            shard: The rows of every batch that this process makes.

        Raises:
            ColumnError: If a column is missing or an advantage class unknown.
            DataError: If no frame is left to train on.
        """
        train, policy = config.train, config.policy
        self._transform = transform
        self._horizon = policy.model.action_horizon
        # An action of one dimension is read as a scalar.
        self._actions = table.column(policy.embodiment.action).reshape(table.num_frames, -1)
        self._episode_ends = table.episode_ends
        self._places = table.places
        self._task_index = table.task_index
        self._observations = FrameObservations(table, policy.embodiment.state)
        self._frame_class = _frame_classes(table, config.condition)
        self._dropout = policy.prompt.advantage_dropout if policy.prompt.advantage else 0.0
        self._seed = train.seed
        self._batch_size, self._rows = train.batch_size, shard.rows(train.batch_size)
        self._order = frame_sampler(
            table,
            train.sampling,
            batch_size=train.batch_size,
            seed=train.seed,
            paused_frames=paused_frames,
        )
        self._masks = action_masks(
            table,
            train,
            action=policy.embodiment.action,
            horizon=self._horizon,
            width=policy.model.action_dim,
        )
        self._hides_negatives = train.negatives == "unconditional"
        self._images = images.feed(self._order, self._rows) if images else None
        bytes_needed = 4 * table.num_frames * self._horizon * policy.model.action_dim
        is_fixed = not policy.model.views and policy.model.state_input != "tokens"
        self._precomputed: _Precomputed | None = None
        if is_fixed and bytes_needed <= _MAX_PRECOMPUTED_BYTES:
            self._precomputed = self._precompute(table.num_frames, len(table.tasks))

    def __call__(self, step: int) -> PolicyBatch:
        """The batch of ``step``; some samples without their advantage clause."""
        frames = self.frames(step)
        prompt_class = np.where(self._is_dropped(step), _DROPPED, self._frame_class[frames])
        if self._precomputed is None:
            images = self._images(step) if self._images else {}
            batch = self._made(frames, prompt_class, images)
        else:
            state, actions, tokens, token_mask = self._precomputed
            rows = (self._task_index[frames], prompt_class)
            inputs = _inputs(state[frames], tokens[rows], token_mask[rows])
            batch = _batch(inputs, actions[frames], prompt_class)
        mask: Any = None if self._masks is None else self._masks.at(frames)
        return batch._replace(action_mask=mask)

    def frames(self, step: int) -> Int[np.ndarray, " b"]:
        """Global indices of the frames in the batch of ``step``."""
        return self._order.indices(step)[self._rows]

    def places(self, step: int) -> Int[np.ndarray, "b 2"]:
        """Episode, and frame within it, of every frame in the batch of ``step``."""
        return self._places(self._order.indices(step))

    def _is_dropped(self, step: int) -> Bool[np.ndarray, " b"]:
        # The sampler counts from 0 under the same key; this stream is far away from it.
        bits = np.random.Philox(key=[self._seed, step], counter=[0, 0, 0, 1])
        drawn = np.random.Generator(bits).random(self._batch_size)
        return drawn[self._rows] < self._dropout

    def _made(
        self, frames: Int[np.ndarray, " b"], prompt_class: Int[np.ndarray, " b"], images: Images
    ) -> PolicyBatch:
        observations = self._observations.at(frames) | images
        clauses = [self._clause(PROMPT_CLASSES[c]) for c in prompt_class]
        prompts = self._transform.training_prompts(self._observations.prompts(frames))
        inputs = self._transform.inputs(observations, prompts, clauses)
        chunks = action_chunks(self._actions, self._episode_ends, frames, horizon=self._horizon)
        state = self._transform.state(observations)
        return _batch(inputs, self._transform.actions(chunks.actions, state), prompt_class)

    def _clause(self, prompt_class: str) -> str | None:
        """What the prompt says of a frame of this class; None: nothing."""
        is_silent = prompt_class == "dropped" or (
            prompt_class == "negative" and self._hides_negatives
        )
        return None if is_silent else prompt_class

    def _precompute(self, num_frames: int, num_tasks: int) -> "_Precomputed":
        """Every frame once, and every task's prompt under every prompt class."""
        states, actions = [], []
        # In blocks: what is computed on the way is several times larger.
        for start in range(0, num_frames, _BLOCK):
            frames = np.arange(start, min(start + _BLOCK, num_frames))
            block = self._made(frames, self._frame_class[frames], {})
            states.append(block.inputs.state)
            actions.append(block.actions)
        tokens, masks = [], []
        classes = np.arange(len(PROMPT_CLASSES))
        for task in range(num_tasks):
            # Any frame of the task will do: the prompt does not depend on the state.
            frame = int(np.argmax(self._task_index == task))
            inputs = self._made(np.full(len(classes), frame), classes, {}).inputs
            tokens.append(inputs.tokens)
            masks.append(inputs.token_mask)
        return _Precomputed(
            np.concatenate(states), np.concatenate(actions), np.stack(tokens), np.stack(masks)
        )


def _frame_classes(table: FrameTable, condition: str | None) -> Int[np.ndarray, " n"]:
    """Prompt class of every frame before any dropout."""
    if condition is not None:
        return np.full(table.num_frames, PROMPT_CLASSES.index(condition), np.int32)
    column = table.column(ADV_IND)
    classes = np.full(table.num_frames, _DROPPED, np.int32)
    for index, name in enumerate(PROMPT_CLASSES):
        if index != _DROPPED:
            classes[column == name] = index
    unknown = np.flatnonzero(classes == _DROPPED)
    if len(unknown):
        raise ColumnError(
            f"{ADV_IND}[{unknown[0]}] is {column[unknown[0]]!r}, not positive, negative or none "
            f"({len(unknown)} of {len(column)} frames). Re-run stage 1 or stage 5."
        )
    return classes


def _inputs(*arrays: Any) -> PolicyInputs:  # noqa: ANN401 - NumPy in place of JAX arrays
    return PolicyInputs({}, {}, *arrays)


def _batch(
    inputs: PolicyInputs, actions: Float[np.ndarray, "b h a"], prompt_class: Int[np.ndarray, " b"]
) -> PolicyBatch:
    # Declared as JAX arrays; NumPy ones move to the device in the background thread.
    arrays: tuple[Any, ...] = (inputs, actions, prompt_class.astype(np.int32))
    return PolicyBatch(*arrays)
