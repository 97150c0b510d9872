"""Batches of questions about images, each a function of its step alone."""

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Int, Int64

from recap_core.config.value import ValueModelConfig
from recap_core.data.shards import Shard
from recap_core.data.vqa import VqaData, VqaExample, read_image
from recap_core.errors import DataError
from recap_core.models.tokenizer import PAD_ID, PromptTokenizer
from recap_core.models.value_model import ValueInputs
from recap_core.transforms.images import to_model_range

_log = logging.getLogger(__name__)
_SHORTEST = 32
_AROUND_QUESTION = 16
"""Most tokens of what stands around a question: BOS, the space in front, ``Answer:``."""
_READERS = 4


class VqaBatch(NamedTuple):
    """Questions with their answers; NumPy or JAX arrays."""

    inputs: ValueInputs
    """One view; question and answer in ``tokens``."""
    is_answer: Bool[Array, "b l"]
    """Tokens that are to be said."""


class VqaBatches:
    """All questions in shuffled order, every one once per epoch.

    Token rows are as long as the longest of their batch, rounded up to a power of two, so that few
    programs are compiled.
    """

    def __init__(  # noqa: PLR0913 - options are keyword-only
        self,
        data: VqaData,
        tokenizer: PromptTokenizer,
        model: ValueModelConfig,
        *,
        batch_size: int,
        max_token_len: int,
        seed: int,
        shard: Shard = Shard(),
    ) -> None:
        """Prepare batches.

        Args:
            data: Questions.
            tokenizer: Of the model.
            model: The model; it sees the image as its first view.
            batch_size: Questions per batch.
            max_token_len: Longer conversations are cut.
            seed: Of the order.
            shard: The rows of every batch that this process makes.

        Raises:
            ConfigError: If the batch cannot be divided by the processes.
        """
        self._data = data
        self._tokenizer = tokenizer
        self._model = model
        self._batch_size = batch_size
        self._max_token_len = max_token_len
        self._seed = seed
        self._rows = shard.rows(batch_size)
        self._order = lru_cache(maxsize=2)(self._shuffled)
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="questions")

    def check_lengths(self) -> None:
        """Raise DataError unless some answer of every record is left after it is cut.

        Only first questions long enough to matter are encoded: no token is shorter than a byte.
        """
        for example in self._data:
            if len(example.turns[0].question.encode()) > self._max_token_len - _AROUND_QUESTION:
                self._encoded(example)

    def __call__(self, step: int) -> VqaBatch:
        """The batch of ``step``.

        Raises:
            DataError: If a record breaks a rule, or its image cannot be read.
        """
        examples = [self._data[number] for number in self._numbers(step).tolist()]
        encoded = [self._encoded(example) for example in examples]
        # Of all rows, not only this process's, so that all processes agree.
        longest = max(len(ids) for ids, _ in encoded)
        length = min(max(_SHORTEST, 1 << (longest - 1).bit_length()), self._max_token_len)
        tokens = np.full((len(examples), length), PAD_ID, np.int32)
        token_mask = np.zeros((len(examples), length), bool)
        is_answer = np.zeros((len(examples), length), bool)
        for row, (ids, is_said) in enumerate(encoded):
            tokens[row, : len(ids)] = ids
            token_mask[row, : len(ids)] = True
            is_answer[row, : len(ids)] = is_said
        mine = self._rows
        inputs = self._inputs(examples[mine], tokens[mine], token_mask[mine])
        said: Any = is_answer[mine]
        return VqaBatch(inputs, said)

    def frames(self, step: int) -> Int[np.ndarray, " b"]:
        """Numbers of this process's questions in the batch of ``step``."""
        return self._numbers(step)[self._rows]

    def places(self, step: int) -> Int[np.ndarray, "b 2"]:
        """Number of every question in the batch of ``step``, and 0."""
        numbers = self._numbers(step)
        return np.stack([numbers, np.zeros_like(numbers)], axis=1)

    def _numbers(self, step: int) -> Int64[np.ndarray, " b"]:
        places = step * self._batch_size + np.arange(self._batch_size)
        epochs, offsets = np.divmod(places, len(self._data))
        return np.array(
            [self._order(e)[i] for e, i in zip(epochs.tolist(), offsets.tolist(), strict=True)]
        )

    def _shuffled(self, epoch: int) -> Int64[np.ndarray, " n"]:
        entropy = np.random.SeedSequence([self._seed, epoch])
        return np.random.Generator(np.random.Philox(entropy)).permutation(len(self._data))

    def _encoded(self, example: VqaExample) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        ids, is_said = self._tokenizer.encode_conversation(example.turns)
        if not is_said[: self._max_token_len].any():
            raise DataError(
                f"the first question about {example.image} has so many tokens that no answer is "
                f"left of {self._max_token_len}. Raise max_token_len, or remove the record."
            )
        if len(ids) > self._max_token_len:
            _log.debug("%s: %d tokens cut to %d", example.image, len(ids), self._max_token_len)
        return ids[: self._max_token_len], is_said[: self._max_token_len]

    def _inputs(
        self,
        examples: list[VqaExample],
        tokens: Int[np.ndarray, "b l"],
        token_mask: Bool[np.ndarray, "b l"],
    ) -> ValueInputs:
        px, view = self._model.image_px, self._model.views[0]
        images = list(self._readers.map(lambda example: read_image(example.image, px), examples))
        state = np.zeros((len(examples), self._model.state_dim), np.float32)
        # Declared as JAX arrays; NumPy ones move to the device in the background thread.
        arrays: tuple[Any, ...] = (
            {view: to_model_range(np.stack(images))},
            {view: np.ones(len(examples), bool)},
            state,
            tokens,
            token_mask,
        )
        return ValueInputs(*arrays)
