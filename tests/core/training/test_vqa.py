"""Answers to questions about images: what is learned, and how much it counts."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from recap_core.data.vqa import VqaData
from recap_core.errors import DataError
from recap_core.models.tokenizer import PromptTokenizer
from recap_core.models.value_model import ValueModel
from recap_core.training.value_batches import ValueBatches
from recap_core.training.vqa_batches import VqaBatches
from recap_core.training.vqa_loss import CotrainedBatches, VqaLoss, one_view
from tests.core.data.colours import conversation, write_images, write_lines
from tests.core.features import filmed
from tests.core.training import robot

MODEL = robot.train_value_config(views=filmed.VIEWS[:2], image_px=28, state_input="none").value
TURNS = [("put", "red"), ("up", "a cup")]


@pytest.fixture(scope="module")
def tokenizer() -> PromptTokenizer:
    return PromptTokenizer(MODEL.prompt, 8, "none")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> VqaData:
    """Three colours in one turn each, and red in two."""
    root = tmp_path_factory.mktemp("questions")
    said = list(conversation("red")["conversations"])
    said += [{"from": "human", "value": "up"}, {"from": "gpt", "value": "a cup"}]
    records = [conversation(colour) for colour in ("green", "blue", "red")]
    records.append({"image": "red.png", "conversations": said})
    file = write_lines(root / "data.jsonl", records)
    return VqaData(file, write_images(root / "images"))


def batches(data: VqaData, tokenizer: PromptTokenizer, **changes: int) -> VqaBatches:
    sizes: dict[str, Any] = {"batch_size": 3, "max_token_len": 64, "seed": 5} | changes
    return VqaBatches(data, tokenizer, MODEL.model, **sizes)


def pieces(tokenizer: PromptTokenizer, ids: np.ndarray) -> str:
    return tokenizer._processor.decode(ids.tolist())


def test_a_conversation_token_by_token(tokenizer: PromptTokenizer) -> None:
    """Said are the answers and what ends each: a newline, or EOS (1) at the end; BOS is 2."""
    ids, is_said = tokenizer.encode_conversation(TURNS)

    assert pieces(tokenizer, ids) == "put\nAnswer: red\nup\nAnswer: a cup"
    assert pieces(tokenizer, ids[is_said]) == " red\n a cup"
    assert (ids[0], ids[-1]) == (2, 1)
    assert not is_said[0]
    assert is_said[-1]
    starts = np.flatnonzero(np.diff(is_said.astype(int)) == 1) + 1
    assert [pieces(tokenizer, ids[:start])[-7:] for start in starts] == ["Answer:"] * 2


def test_an_epoch_asks_every_question_once(data: VqaData, tokenizer: PromptTokenizer) -> None:
    """Four batches of three are three epochs of four; order and rows depend on the step alone."""
    asked = batches(data, tokenizer)
    numbers = np.concatenate([asked.frames(step) for step in range(4)]).reshape(3, 4)
    again = batches(data, tokenizer)(2)

    assert [sorted(epoch) for epoch in numbers.tolist()] == [[0, 1, 2, 3]] * 3
    assert len({tuple(epoch) for epoch in numbers.tolist()}) > 1
    jax.tree.map(np.testing.assert_array_equal, again, asked(2))
    np.testing.assert_array_equal(asked.places(1), np.stack([asked.frames(1), np.zeros(3)], axis=1))


def test_rows_are_padded_and_cut(data: VqaData, tokenizer: PromptTokenizer) -> None:
    """To a power of two of at least 32 tokens; longer than allowed is cut, unless it is all asked.

    A question of two and an answer of two turns has 25 tokens and more.
    """
    batch = batches(data, tokenizer, batch_size=4)(0)
    lengths = np.asarray(batch.inputs.token_mask).sum(axis=1)
    assert batch.inputs.tokens.shape == (4, 32)
    assert not np.asarray(batch.is_answer)[~np.asarray(batch.inputs.token_mask)].any()

    cut = batches(data, tokenizer, batch_size=4, max_token_len=int(lengths.max()) - 1)(0)
    assert cut.inputs.tokens.shape == (4, lengths.max() - 1)

    with pytest.raises(DataError, match=r"no answer is left of 8\. Raise max_token_len"):
        batches(data, tokenizer, batch_size=4, max_token_len=8)(0)
    with pytest.raises(DataError, match=r"no answer is left of 8\. Raise max_token_len"):
        batches(data, tokenizer, max_token_len=8).check_lengths()
    batches(data, tokenizer).check_lengths()


def test_the_loss_is_that_of_the_answers_alone(data: VqaData, tokenizer: PromptTokenizer) -> None:
    """Worked out with NumPy: per question the mean over its answer tokens, then over questions."""
    model = ValueModel(one_view(MODEL.model))
    params = model.init(jax.random.key(1))
    batch = batches(data, tokenizer, batch_size=4)(0)
    logits = np.asarray(jax.jit(model.token_logits)(params, batch.inputs), np.float64)
    tokens, is_answer = np.asarray(batch.inputs.tokens), np.asarray(batch.is_answer)
    expected, right = [], []
    for row in range(4):
        said = np.flatnonzero(is_answer[row])
        scores = logits[row, said - 1]  # the token before says what comes
        log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        expected.append(-log_probs[np.arange(len(said)), tokens[row, said]].mean())
        right += (scores.argmax(axis=1) == tokens[row, said]).tolist()

    loss_of = jax.jit(VqaLoss(model))
    loss, metrics = loss_of(params, jax.random.key(0), batch)
    # Whatever stands in the padding, the questions keep their loss.
    noise = np.where(batch.inputs.token_mask, tokens, 7)
    padded = batch._replace(inputs=batch.inputs._replace(tokens=jnp.asarray(noise)))
    same, _ = loss_of(params, jax.random.key(0), padded)

    np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)
    np.testing.assert_allclose(same, loss, rtol=1e-6)
    assert (metrics["answer_accuracy"].total, metrics["answer_accuracy"].num) == (
        sum(right),
        is_answer.sum(),
    )


def test_a_cotrained_batch_is_one_of_each(
    data: VqaData, tokenizer: PromptTokenizer, tmp_path: Path
) -> None:
    """Of the same step, made anew; only the frames say which samples they are.

    The losses' sum is tested with the stage.
    """
    config = robot.train_value_config(state_input="none")
    table = robot.dataset(tmp_path / "dataset")
    frames = ValueBatches(table, robot.value_transform(config.value), config)
    both = CotrainedBatches(frames, batches(data, tokenizer))

    found, expected = both(2), (frames(2), batches(data, tokenizer)(2))

    jax.tree.map(np.testing.assert_array_equal, tuple(found), expected)
    np.testing.assert_array_equal(both.frames(2), frames.frames(2))
    np.testing.assert_array_equal(both.places(2), frames.places(2))
