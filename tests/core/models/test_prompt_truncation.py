"""The advantage clause survives the cut to ``max_token_len``, or it is an error.

What survives is judged here by counting the bytes of every token, which the code under test does
not do.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2

from recap_core.config.policy import PromptConfig, StateInput
from recap_core.errors import ConfigError
from recap_core.models.tokenizer import ADV_IND, PromptTokenizer, tokenizer_path

GOLDEN = Path(__file__).parents[2] / "golden" / "openpi" / "tokenizer"

prompts = st.text(st.characters(codec="utf-8", exclude_characters="\x00\u2581"), max_size=30)
classes = st.sampled_from(ADV_IND)
lengths = st.integers(1, 150)


def bytes_only(path: Path) -> Path:
    """A tokenizer without a single letter: every character becomes its UTF-8 bytes."""
    messages: Any = sentencepiece_model_pb2
    proto = messages.ModelProto()
    kind = messages.ModelProto.SentencePiece
    for special in ("<pad>", "</s>", "<s>"):
        proto.pieces.add(piece=special, score=0.0, type=kind.CONTROL)
    proto.pieces.add(piece="<unk>", score=0.0, type=kind.UNKNOWN)
    for byte in range(256):
        proto.pieces.add(piece=f"<0x{byte:02X}>", score=0.0, type=kind.BYTE)
    proto.pieces.add(piece="\u2581", score=-10.0, type=kind.NORMAL)
    trainer = proto.trainer_spec
    trainer.model_type = messages.TrainerSpec.UNIGRAM
    trainer.vocab_size, trainer.byte_fallback = len(proto.pieces), True
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = 0, 1, 2, 3
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = False
    proto.normalizer_spec.remove_extra_whitespaces = False
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return path


@pytest.fixture(scope="module", params=["tiny", "bpe", "bytes"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clause words as single pieces, as a few pieces, and letter by letter."""
    if request.param == "tiny":
        return tokenizer_path("tiny")
    if request.param == "bpe":
        return GOLDEN / "tiny_spm.model"
    return bytes_only(tmp_path_factory.mktemp("tokenizer") / "bytes.model")


def num_tokens_needed(model: Path, text: str, adv_ind: str) -> int:
    """Tokens, BOS included, up to the one that completes the clause."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    until_clause = text.removesuffix(";\nAction: ")
    assert until_clause.endswith(f", Advantage: {adv_ind}")
    ids = processor.encode(text)
    pieces = [processor.id_to_piece(i).replace("\u2581", " ") for i in ids]
    num_bytes = np.cumsum(
        [1 if processor.is_byte(i) else len(p.encode()) for i, p in zip(ids, pieces, strict=True)]
    )
    assert num_bytes[-1] == len(text.encode())
    return 2 + int(np.searchsorted(num_bytes, len(until_clause.encode())))


def check(model: Path, max_token_len: int, state_input: StateInput, sample: tuple) -> None:
    """Encode ``(prompt, state, adv_ind)`` and compare with the count of bytes."""
    prompt, state, adv_ind = sample
    config = PromptConfig(tokenizer=str(model))
    tokenizer = PromptTokenizer(config, max_token_len, state_input)
    needed = num_tokens_needed(model, tokenizer.policy_text(prompt, state, adv_ind), adv_ind)
    if needed > max_token_len:
        with pytest.raises(ConfigError, match=r"would lose its advantage clause"):
            tokenizer.encode(prompt, state, adv_ind)
        return
    ids, mask = tokenizer.encode(prompt, state, adv_ind)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
    assert f", Advantage: {adv_ind}" in processor.decode(ids[mask].tolist())


@given(prompt=prompts, adv_ind=classes, max_token_len=lengths)
def test_the_clause_survives_any_prompt(
    model: Path, prompt: str, adv_ind: str, max_token_len: int
) -> None:
    """Whatever the task text, length and tokenizer."""
    check(model, max_token_len, "continuous", (prompt, None, adv_ind))


@given(
    state=st.lists(st.floats(-2, 2), min_size=1, max_size=14),
    adv_ind=classes,
    max_token_len=lengths,
)
def test_the_clause_survives_any_state(
    model: Path, state: list[float], adv_ind: str, max_token_len: int
) -> None:
    """The state stands in front of the clause, and is as long as it is."""
    check(model, max_token_len, "tokens", ("fold the towel", np.array(state), adv_ind))


@pytest.mark.parametrize("adv_ind", ADV_IND)
def test_every_cut_is_judged_right(model: Path, adv_ind: str) -> None:
    """From a length of one token to the whole prompt, through the middle of the clause."""
    for max_token_len in range(1, 80):
        check(model, max_token_len, "continuous", ("go ü", None, adv_ind))


def test_a_prompt_that_quotes_the_clause_does_not_count_as_it(model: Path) -> None:
    """The task text may hold the very words; only the last clause is the class."""
    for max_token_len in range(20, 100, 3):
        check(model, max_token_len, "continuous", (", Advantage: positive", None, "positive"))
