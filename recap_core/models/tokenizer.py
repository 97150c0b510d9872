r"""Prompts and token ids of the policy (pi0, pi0.5, pi0.6) and the value model (SPEC §5.2, §8.1).

What the policy reads depends on two settings:

    state_input  advantage   text
    tokens       on          Task: <prompt>, State: <bins>, Advantage: <adv_ind>;\nAction:
    tokens       off         Task: <prompt>, State: <bins>;\nAction:                  (pi0.5)
    other        on          Task: <prompt>, Advantage: <adv_ind>;\nAction:
    other        off         <prompt>\n                                                (pi0)

("Action:" is followed by one space.) ``adv_ind`` None leaves the clause out: that is how a dropped
or an unconditional sample looks. ``none`` is a class like the others and is written out.

The value model reads

    state_input  text
    tokens       Task: <prompt>, State: <bins>;\nValue:
    other        <prompt>\nValue:                                              (the reference's)

Its bins are those of the state clipped to [-1, 1], so each is between 0 and 255.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sentencepiece
from jaxtyping import Bool, Float, Int

from recap_core.config.policy import PromptConfig, StateInput
from recap_core.errors import ConfigError, DataError, IncompatibleError

logger = logging.getLogger(__name__)

ADV_IND = ("positive", "negative", "none")
NUM_STATE_BINS = 256
PAD_ID = 0

_STATE_IS_MISSING = (
    "the prompt carries the state (model.state_input is 'tokens'), but the sample has none. Pass "
    "the normalised state."
)
_ACTION_END = ";\nAction: "
_MAX_REMEMBERED_PROMPTS = 4096


class _TokenizerSource:
    """Where a published tokenizer is found and where it comes from."""

    def __init__(self, files: tuple[str, ...], origin: str) -> None:
        self.files = files
        self.origin = origin


_PUBLISHED = {
    "paligemma": _TokenizerSource(
        ("paligemma_tokenizer.model",), "gs://big_vision/paligemma_tokenizer.model"
    ),
    "gemma3": _TokenizerSource(
        ("gemma3_tokenizer.model", "tokenizer.model"),
        "tokenizer.model of huggingface.co/google/gemma-3-270m (accept its licence first)",
    ),
}


def tokenizer_path(name: str, *, weights_dir: Path | None = None) -> Path:
    """The sentencepiece file of a tokenizer.

    Args:
        name: ``tiny`` (part of this package), ``paligemma`` or ``gemma3`` (looked up in
            ``weights_dir``), or a path to a sentencepiece model.
        weights_dir: Directory of published weights.

    Raises:
        ConfigError: If there is no such file; says where to get it and where to put it.
    """
    if name == "tiny":
        return Path(__file__).parent / "tiny_tokenizer" / "model.spm"
    if name not in _PUBLISHED:
        path = Path(name)
        if not path.is_file():
            raise ConfigError(
                f"tokenizer {name!r} is neither 'tiny', 'paligemma', 'gemma3' nor an existing "
                "file. Set prompt.tokenizer to one of them."
            )
        return path
    source = _PUBLISHED[name]
    if weights_dir is None:
        raise ConfigError(
            f"tokenizer {name!r} is not part of this package and no weights directory is set. "
            f"Get {source.origin}, save it as {source.files[0]} in a directory, and name that "
            "directory in RECAP_WEIGHTS."
        )
    for file in source.files:
        if (weights_dir / file).is_file():
            return weights_dir / file
    raise ConfigError(
        f"tokenizer {name!r}: no {' or '.join(source.files)} in {weights_dir}. "
        f"Get {source.origin} and save it as {weights_dir / source.files[0]}."
    )


def tokenizer_digest(path: Path) -> str:
    """blake2b-128 of a tokenizer file, as hex (``PromptConfig.tokenizer_digest``)."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def clean_prompt(prompt: str) -> str:
    """``prompt`` on one line: stripped, underscores and newlines become spaces."""
    return prompt.strip().replace("_", " ").replace("\n", " ")


def state_bins(state: Float[np.ndarray, "*b s"]) -> Int[np.ndarray, "*b s"]:
    """256-bin index of every normalised state value.

    Bins split [-1, 1] evenly; values above are in bin 255, and values below -1 get -1, as openpi
    writes them.
    """
    left_edges = np.linspace(-1, 1, NUM_STATE_BINS + 1)[:-1]
    return np.digitize(state, left_edges) - 1


def value_text(prompt: str, state: Float[np.ndarray, " s"] | None = None) -> str:
    """What the value model reads.

    Args:
        prompt: Task text.
        state: Normalised, unpadded state; None: the text carries none.
    """
    if state is None:
        return f"{prompt.rstrip()}\nValue:"
    bins = " ".join(map(str, state_bins(np.clip(state, -1, 1))))
    return f"Task: {clean_prompt(prompt)}, State: {bins};\nValue:"


class PromptTokenizer:
    """Turns prompts into padded token ids for one model.

    Ids of prompts without state text are remembered, so that a batch costs one lookup per sample.

    Args:
        config: Tokenizer name and whether the advantage clause is written.
        max_token_len: Length of every encoded prompt, tokens.
        state_input: ``tokens`` writes the state into the prompt.
        weights_dir: Directory of published weights, for ``paligemma`` and ``gemma3``.

    Raises:
        ConfigError: If the tokenizer file is missing, no sentencepiece model, or has no BOS token.
        IncompatibleError: If the file is not the one that ``config.tokenizer_digest`` names.
    """

    def __init__(
        self,
        config: PromptConfig,
        max_token_len: int,
        state_input: StateInput,
        *,
        weights_dir: Path | None = None,
    ) -> None:
        path = tokenizer_path(config.tokenizer, weights_dir=weights_dir)
        if config.tokenizer_digest not in (None, found := tokenizer_digest(path)):
            raise IncompatibleError(
                f"tokenizer {path} has digest {found}, the config was made with "
                f"{config.tokenizer_digest}. Use the same file or resolve the config again."
            )
        self._processor = _read(path)
        if self._processor.bos_id() < 0:
            raise ConfigError(f"tokenizer {path} has no BOS token; the models need one.")
        self._max_token_len = max_token_len
        self._state_input = state_input
        self._advantage = config.advantage
        self._policy_rows: dict[tuple[str, str | None], Int[np.ndarray, " l"]] = {}
        self._value_rows: dict[str, Int[np.ndarray, " l"]] = {}

    @property
    def vocab_size(self) -> int:
        """Number of pieces; every id is below it."""
        return self._processor.vocab_size()

    @property
    def max_token_len(self) -> int:
        """Length of every encoded prompt, tokens."""
        return self._max_token_len

    @property
    def writes_advantage(self) -> bool:
        """Whether the prompt carries the advantage clause."""
        return self._advantage

    @property
    def writes_state(self) -> bool:
        """Whether the prompt carries the state."""
        return self._state_input == "tokens"

    def policy_text(
        self, prompt: str, state: Float[np.ndarray, " s"] | None, adv_ind: str | None
    ) -> str:
        """What the policy reads.

        Args:
            prompt: Task text; cleaned here.
            state: Normalised, unpadded state; needed exactly where the prompt carries it.
            adv_ind: Advantage class; None leaves the clause out. Ignored where the prompt carries
                no clause.

        Raises:
            DataError: If ``adv_ind`` is no advantage class, or the state is missing.
        """
        return "".join(self._policy_parts(prompt, state, adv_ind))

    def encode(
        self, prompt: str, state: Float[np.ndarray, " s"] | None, adv_ind: str | None
    ) -> tuple[Int[np.ndarray, " l"], Bool[np.ndarray, " l"]]:
        """Ids and validity mask of :meth:`policy_text`, with BOS, padded to ``max_token_len``.

        A prompt that is too long is cut with a logged warning.

        Raises:
            ConfigError: If the cut would reach the advantage clause.
            DataError: As :meth:`policy_text`.
        """
        ids = self._padded(self._policy_ids(prompt, state, adv_ind))
        return ids, ids != PAD_ID

    def encode_batch(
        self,
        prompts: Sequence[str],
        state: Float[np.ndarray, "b s"] | None,
        adv_ind: Sequence[str | None],
    ) -> tuple[Int[np.ndarray, "b l"], Bool[np.ndarray, "b l"]]:
        """:meth:`encode` of every sample."""
        if self.writes_state:
            rows = [
                self._padded(self._policy_ids(prompt, None if state is None else state[i], adv))
                for i, (prompt, adv) in enumerate(zip(prompts, adv_ind, strict=True))
            ]
        else:
            rows = [
                self._policy_row(prompt, adv) for prompt, adv in zip(prompts, adv_ind, strict=True)
            ]
        ids = np.stack(rows)
        return ids, ids != PAD_ID

    def encode_value(
        self, prompts: Sequence[str], state: Float[np.ndarray, "b s"] | None = None
    ) -> tuple[Int[np.ndarray, "b l"], Bool[np.ndarray, "b l"]]:
        """Ids and mask of :func:`value_text` of every prompt, with BOS.

        A prompt that is too long is cut with a logged warning, unless it carries the state.

        Args:
            prompts: Task texts.
            state: Normalised, unpadded states; needed, and read, where the prompt carries them.

        Raises:
            ConfigError: If a cut would reach the state.
            DataError: If the states are missing.
        """
        if not self.writes_state:
            ids = np.stack([self._value_row(prompt) for prompt in prompts])
            return ids, ids != PAD_ID
        if state is None:
            raise DataError(_STATE_IS_MISSING)
        rows = [self._value_state_row(*sample) for sample in zip(prompts, state, strict=True)]
        ids = np.stack(rows)
        return ids, ids != PAD_ID

    def encode_conversation(
        self, turns: Sequence[tuple[str, str]]
    ) -> tuple[Int[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
        r"""Ids of questions and answers, with BOS and EOS, neither cut nor padded.

            <question>\nAnswer: <answer>\n<question>\nAnswer: <answer><eos>

        Args:
            turns: (question, answer) pairs, at least one.

        Returns:
            Ids, and which of them are to be said: answers, each with the newline or EOS after it.
        """
        ids, is_said = [self._processor.bos_id()], [False]
        for i, (question, answer) in enumerate(turns):
            asked: list[int] = self._processor.encode(f"{question}\nAnswer:")
            said: list[int] = self._processor.encode(f" {answer}")
            is_last = i == len(turns) - 1
            said += [self._processor.eos_id()] if is_last else self._processor.encode("\n")
            ids += asked + said
            is_said += [False] * len(asked) + [True] * len(said)
        return np.array(ids, np.int32), np.array(is_said)

    def _policy_row(self, prompt: str, adv_ind: str | None) -> Int[np.ndarray, " l"]:
        key = (prompt, adv_ind)
        if key not in self._policy_rows:
            ids = self._policy_ids(prompt, None, adv_ind)
            _remember(self._policy_rows, key, self._padded(ids))
        return self._policy_rows[key]

    def _value_row(self, prompt: str) -> Int[np.ndarray, " l"]:
        if prompt not in self._value_rows:
            ids = self._processor.encode(value_text(prompt), add_bos=True)
            _remember(self._value_rows, prompt, self._padded(ids))
        return self._value_rows[prompt]

    def _value_state_row(
        self, prompt: str, state: Float[np.ndarray, " s"]
    ) -> Int[np.ndarray, " l"]:
        text = value_text(prompt, state)
        ids: list[int] = self._processor.encode(text, add_bos=True)
        # Numbers of the state stand at the end: any cut would reach them or what follows.
        if len(ids) > self._max_token_len:
            raise ConfigError(
                f"a prompt of {len(ids)} tokens would lose a part of its state when cut to "
                f"max_token_len = {self._max_token_len}: {text!r}. Raise model.max_token_len to "
                f"at least {len(ids)}, or shorten the task text."
            )
        return self._padded(ids)

    def _policy_parts(
        self, prompt: str, state: Float[np.ndarray, " s"] | None, adv_ind: str | None
    ) -> tuple[str, ...]:
        """The text, in the pieces that openpi encodes one by one."""
        cleaned = clean_prompt(prompt)
        if not (self.writes_state or self._advantage):
            return cleaned, "\n"
        text = f"Task: {cleaned}"
        if self.writes_state:
            if state is None:
                raise DataError(_STATE_IS_MISSING)
            text += f", State: {' '.join(map(str, state_bins(state)))}"
        if self._advantage and adv_ind is not None:
            text += _advantage_clause(adv_ind)
        return (text + _ACTION_END,)

    def _policy_ids(
        self, prompt: str, state: Float[np.ndarray, " s"] | None, adv_ind: str | None
    ) -> list[int]:
        first, *rest = self._policy_parts(prompt, state, adv_ind)
        ids: list[int] = self._processor.encode(first, add_bos=True)
        for part in rest:
            ids += self._processor.encode(part)
        if len(ids) > self._max_token_len and self._advantage and adv_ind is not None:
            self._check_clause_survives(ids, first, adv_ind)
        return ids

    def _check_clause_survives(self, ids: Sequence[int], text: str, adv_ind: str) -> None:
        """Raise ConfigError if cutting ``ids`` to ``max_token_len`` would cut the clause.

        Compared as text: pieces may join the clause and what stands around it, or be single bytes.
        """
        whole = self._processor.decode(list(ids))
        kept = self._processor.decode(list(ids[: self._max_token_len]))
        before, clause, _ = whole.rpartition(_advantage_clause(adv_ind))
        if not clause or not kept.startswith(before + clause):
            raise ConfigError(
                f"a prompt of {len(ids)} tokens would lose its advantage clause when cut to "
                f"max_token_len = {self._max_token_len}: {text!r}. Raise model.max_token_len to "
                f"at least {len(ids)}, or shorten the task text."
            )

    def _padded(self, ids: Sequence[int]) -> Int[np.ndarray, " l"]:
        """``ids`` cut or padded to ``max_token_len``."""
        if len(ids) > self._max_token_len:
            logger.warning(
                "a prompt of %d tokens is cut to max_token_len = %d",
                len(ids),
                self._max_token_len,
            )
            ids = ids[: self._max_token_len]
        padded = np.full(self._max_token_len, PAD_ID, np.int32)
        padded[: len(ids)] = ids
        return padded


def _read(path: Path) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ConfigError(
            f"tokenizer {path} is no sentencepiece model ({error}). Name the file tokenizer.model "
            "that comes with the weights, not tokenizer.json."
        ) from error


def _advantage_clause(adv_ind: str) -> str:
    if adv_ind not in ADV_IND:
        raise DataError(
            f"adv_ind is {adv_ind!r}; it must be 'positive', 'negative' or 'none' "
            "(or absent, which leaves the clause out)."
        )
    return f", Advantage: {adv_ind}"


def _remember[Key](
    rows: dict[Key, Int[np.ndarray, " l"]], key: Key, row: Int[np.ndarray, " l"]
) -> None:
    if len(rows) >= _MAX_REMEMBERED_PROMPTS:
        rows.clear()
    rows[key] = row
