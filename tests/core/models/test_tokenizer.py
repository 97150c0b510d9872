import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece

from recap_core.config.policy import PromptConfig, StateInput
from recap_core.errors import ConfigError, DataError, IncompatibleError
from recap_core.models.tiny_tokenizer.make import model_bytes
from recap_core.models.tokenizer import (
    PromptTokenizer,
    state_bins,
    tokenizer_digest,
    tokenizer_path,
    value_text,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "openpi" / "tokenizer"
CASES: list[dict[str, Any]] = json.loads((GOLDEN / "openpi_cases.json").read_text())["cases"]

TINY = tokenizer_path("tiny")


def make(
    *, advantage: bool = True, max_token_len: int = 64, state_input: StateInput = "continuous"
) -> PromptTokenizer:
    config = PromptConfig(tokenizer="tiny", advantage=advantage)
    return PromptTokenizer(config, max_token_len, state_input)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['state_name']}-{case['max_len']}")
def test_strings_ids_and_masks_are_openpis(case: dict[str, Any]) -> None:
    """Every recorded prompt of openpi, with and without state, comes out the same."""
    has_state = case["state"] is not None
    state = np.array(case["state"], case["state_dtype"]) if has_state else None
    config = PromptConfig(tokenizer=str(GOLDEN / "tiny_spm.model"), advantage=False)
    tokenizer = PromptTokenizer(config, case["max_len"], "tokens" if has_state else "none")

    ids, mask = tokenizer.encode(case["prompt"], state, None)

    assert tokenizer.policy_text(case["prompt"], state, None) == "".join(case["encoded_strings"])
    np.testing.assert_array_equal(ids, case["tokens"])
    np.testing.assert_array_equal(mask, np.array(case["mask"], bool))


@pytest.mark.parametrize("adv_ind", ["positive", "negative", "none"])
def test_the_clause_follows_the_state(adv_ind: str) -> None:
    """pi0.6 writes the class literally, "none" too, right before the end of the prompt."""
    text = make(state_input="tokens").policy_text(" pick_it\n", np.array([-1.0, 0.0]), adv_ind)

    assert text == f"Task: pick it, State: 0 128, Advantage: {adv_ind};\nAction: "


def test_no_class_means_no_clause() -> None:
    """Without a class the pi0.6 prompt is the pi0.5 prompt."""
    state = np.array([0.5])
    with_clause, without = make(state_input="tokens"), make(advantage=False, state_input="tokens")

    assert with_clause.policy_text("go", state, None) == without.policy_text("go", state, None)
    assert make().policy_text("go", None, None) == "Task: go;\nAction: "


def test_a_policy_without_clause_ignores_the_class() -> None:
    """A pi0.5 model never sees the tag, whatever the dataset carries."""
    tokenizer = make(advantage=False, state_input="tokens")

    assert "Advantage" not in tokenizer.policy_text("go", np.array([0.5]), "positive")


def test_an_unknown_class_is_refused() -> None:
    """A misspelled class must not reach the model as text."""
    with pytest.raises(DataError, match="'good'"):
        make().encode("go", None, "good")


def test_missing_state_is_refused() -> None:
    """A prompt that carries the state cannot be made without one."""
    with pytest.raises(DataError, match="state"):
        make(state_input="tokens").encode("go", None, "positive")


def test_state_bins_at_the_edges() -> None:
    """256 bins over [-1, 1]; below it -1, above it 255, as openpi."""
    bins = state_bins(np.array([-1.5, -1.0, -1 + 1 / 128, 0.0, 0.9921875, 1.0, 2.0]))

    np.testing.assert_array_equal(bins, [-1, 0, 1, 128, 255, 255, 255])


def test_the_demo_prompts_are_short() -> None:
    """9 and 5 tokens: BOS, then words, clause and fixed text as single pieces."""
    ids, mask = make().encode("transfer cube", None, "positive")
    value_ids, value_mask = make().encode_value(["transfer cube"])

    assert mask.sum() == 9
    assert value_mask.sum() == 5
    assert ids[0] == value_ids[0, 0] == 2


def test_classes_differ_in_one_token() -> None:
    """The clause's class is one piece, so the three prompts differ in one place."""
    rows = [make().encode("transfer cube", None, adv)[0] for adv in ("positive", "negative")]

    assert np.count_nonzero(rows[0] != rows[1]) == 1


def test_a_prompt_that_just_fits_is_whole() -> None:
    """Nine tokens fit in nine places."""
    ids, mask = make(max_token_len=9).encode("transfer cube", None, "positive")

    assert mask.all()
    np.testing.assert_array_equal(ids, make().encode("transfer cube", None, "positive")[0][:9])


def test_the_clause_survives_or_it_is_an_error() -> None:
    """Cutting behind the clause warns; cutting into it names both lengths and the setting."""
    ids, _ = make(max_token_len=6).encode("transfer cube", None, "positive")
    assert ids[-1] == make().encode("transfer cube", None, "positive")[0][5]

    with pytest.raises(ConfigError, match=r"9 tokens.*max_token_len = 5.*at least 9"):
        make(max_token_len=5).encode("transfer cube", None, "positive")


def test_a_plain_prompt_is_cut_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Without a clause, openpi's rule holds: cut and warn."""
    with caplog.at_level(logging.WARNING):
        ids, mask = make(max_token_len=3).encode("transfer cube", None, None)

    assert mask.all()
    assert len(ids) == 3
    assert "max_token_len = 3" in caplog.text


def test_a_batch_is_its_samples() -> None:
    """Batches with and without state text equal one call per sample."""
    prompts, adv_ind = ["go", "stop", "go"], ["positive", None, "negative"]
    state = np.array([[0.1, 0.2], [0.3, 0.4], [-0.5, 2.0]])
    for tokenizer in (make(), make(state_input="tokens")):
        ids, mask = tokenizer.encode_batch(prompts, state, adv_ind)
        for i in range(3):
            own_ids, own_mask = tokenizer.encode(prompts[i], state[i], adv_ind[i])
            np.testing.assert_array_equal(ids[i], own_ids)
            np.testing.assert_array_equal(mask[i], own_mask)


def test_policy_and_value_prompts_do_not_mix() -> None:
    """One tokenizer serves both texts of the same task."""
    tokenizer = make()
    policy_ids, _ = tokenizer.encode_batch(["go"], None, [None])
    value_ids, _ = tokenizer.encode_value(["go"])

    assert (policy_ids != value_ids).any()
    assert value_text("go \n") == "go\nValue:"


def test_the_value_prompt_with_a_state() -> None:
    """pi0.5's form; the bins of a clipped state are never below 0."""
    text = value_text(" transfer_cube\n", np.array([-1.5, 0.0, 2.0]))

    assert text == "Task: transfer cube, State: 0 128 255;\nValue:"


def test_value_prompts_carry_each_samples_state() -> None:
    """Same task, two states: two rows, each the ids of its own text."""
    tokenizer, state = make(state_input="tokens"), np.array([[0.5, -0.5], [0.25, -0.5]])

    ids, mask = tokenizer.encode_value(["go", "go"], state)

    for row, row_mask, own in zip(ids, mask, state, strict=True):
        assert tokenizer._processor.decode(row[row_mask].tolist()) == value_text("go", own)
    assert (ids[0] != ids[1]).any()
    plain, _ = make().encode_value(["go", "go"], state)  # ignored where the text has no state
    np.testing.assert_array_equal(plain, make().encode_value(["go", "go"])[0])


def test_the_state_of_a_value_prompt_survives_or_it_is_an_error() -> None:
    """One token too few names both lengths and the setting; no state at all is said too."""
    state = np.array([[0.5, -0.5]])
    _, mask = make(state_input="tokens").encode_value(["go"], state)
    length = int(mask.sum())

    assert make(state_input="tokens", max_token_len=length).encode_value(["go"], state)[1].all()
    with pytest.raises(ConfigError, match=rf"{length} tokens.*max_token_len = {length - 1}"):
        make(state_input="tokens", max_token_len=length - 1).encode_value(["go"], state)
    with pytest.raises(DataError, match="the sample has none"):
        make(state_input="tokens").encode_value(["go"])


def test_a_tokenizer_is_read_by_path(tmp_path: Path) -> None:
    """Any sentencepiece model; another kind of file is named, with the one to take."""
    own = tmp_path / "own.model"
    own.write_bytes(TINY.read_bytes())
    other = tmp_path / "tokenizer.json"
    other.write_text("{}")

    ids, _ = PromptTokenizer(PromptConfig(tokenizer=str(own)), 12, "none").encode_value(["go"])

    np.testing.assert_array_equal(ids, make(max_token_len=12).encode_value(["go"])[0])
    with pytest.raises(ConfigError, match=r"tokenizer\.json is no sentencepiece model"):
        PromptTokenizer(PromptConfig(tokenizer=str(other)), 12, "none")


def test_the_tiny_model_is_what_its_script_makes() -> None:
    """The committed file equals a fresh build, byte for byte."""
    assert TINY.read_bytes() == model_bytes()


def test_the_tiny_model_has_gemmas_special_ids() -> None:
    """Ids pad 0, eos 1, bos 2, unk 3, at most 400 pieces, and every text survives a round trip."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(TINY))
    text = " naïve 你好\n\n a  b_C7 \x00"

    ids = [processor.pad_id(), processor.eos_id(), processor.bos_id(), processor.unk_id()]
    assert ids == [0, 1, 2, 3]
    assert processor.vocab_size() <= 400
    assert processor.decode(processor.encode(text)) == text
    assert processor.encode("a\n\nb", out_type=str) == ["a", "\n", "\n", "b"]


def test_a_tokenizer_that_is_not_there_says_where_to_get_it(tmp_path: Path) -> None:
    """Published files are never fetched: the error names source, file and directory."""
    with pytest.raises(ConfigError, match=r"big_vision/paligemma_tokenizer.model.*save it"):
        tokenizer_path("paligemma", weights_dir=tmp_path)
    with pytest.raises(ConfigError, match="weights directory"):
        tokenizer_path("gemma3")
    with pytest.raises(ConfigError, match="no-such"):
        tokenizer_path("no-such.model")


def test_published_tokenizers_are_found_by_name(tmp_path: Path) -> None:
    """The value bundle's tokenizer.model counts as gemma3."""
    (tmp_path / "tokenizer.model").write_bytes(TINY.read_bytes())

    assert tokenizer_path("gemma3", weights_dir=tmp_path) == tmp_path / "tokenizer.model"


def test_another_file_than_the_config_names_is_refused() -> None:
    """A stage key with one tokenizer's digest must not be made with another."""
    good = PromptConfig(tokenizer="tiny", tokenizer_digest=tokenizer_digest(TINY))
    PromptTokenizer(good, 8, "none")

    with pytest.raises(IncompatibleError, match="digest"):
        PromptTokenizer(good.model_copy(update={"tokenizer_digest": "0" * 32}), 8, "none")
