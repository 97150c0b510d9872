"""Make ``model.spm``, the tokenizer of the ``tiny`` preset.

    python -m recap_core.models.tiny_tokenizer.make [TARGET]

The model is written piece by piece, not trained, so the same list gives the same bytes everywhere.
Special ids are Gemma's (pad 0, eos 1, bos 2, unk 3), unknown characters fall back to bytes, the
newline is a piece of its own, and text is neither normalised nor prefixed with a space.

Whoever edits the lists runs the script and commits the model too: its digest is part of stage keys.
"""

import argparse
import string
from pathlib import Path
from typing import Any

SPACE = "\u2581"
"""What sentencepiece writes for a space inside a piece."""

CLAUSES = ("Task:", ", Advantage:", ", State:", "Action: ", "Value:")
"""Fixed text of the prompts, so that a prompt is about as long as its task."""

WORDS = (
    *("Advantage", "State", "positive", "negative", "none"),
    *("transfer", "cube", "put", "pick", "place", "insert", "open", "close", "fold", "grasp"),
    *("push", "pour", "hand", "use", "the", "a", "it", "in", "into", "on", "to", "and", "up"),
    *("over", "from", "with", "one", "other", "left", "right", "arm", "peg", "socket", "vial"),
    *("rack", "cup", "box", "shirt", "drawer", "door"),
)
"""Words that are one piece after a space."""

FIRST_WORDS = (
    *("transfer", "put", "pick", "place", "insert", "open", "close", "fold", "grasp", "push"),
    *("use",),
)
"""Words that are one piece without a space too: a value prompt starts with its task."""

CHARACTERS = SPACE + string.ascii_letters + string.digits + ",.;:!?'-_/()+"

WORD_SCORE, CHARACTER_SCORE = -1.0, -10.0
"""Log scores: the fewest characters outside whole words wins, then the fewest words."""


def model_bytes() -> bytes:
    """The sentencepiece model, serialised."""
    from sentencepiece import sentencepiece_model_pb2

    # Protobuf makes these classes when it is imported; no type checker can see them.
    messages: Any = sentencepiece_model_pb2
    proto = messages.ModelProto()
    kind = messages.ModelProto.SentencePiece

    def add(piece: str, score: float, piece_type: int) -> None:
        proto.pieces.add(piece=piece, score=score, type=piece_type)

    for special in ("<pad>", "</s>", "<s>"):
        add(special, 0.0, kind.CONTROL)
    add("<unk>", 0.0, kind.UNKNOWN)
    add("\n", 0.0, kind.USER_DEFINED)
    for byte in range(256):
        add(f"<0x{byte:02X}>", 0.0, kind.BYTE)
    words = [*CLAUSES, *(f" {word}" for word in WORDS), *FIRST_WORDS]
    for word in words:
        add(word.replace(" ", SPACE), WORD_SCORE, kind.NORMAL)
    for character in CHARACTERS:
        add(character, CHARACTER_SCORE, kind.NORMAL)

    trainer = proto.trainer_spec
    trainer.model_type = messages.TrainerSpec.UNIGRAM
    trainer.vocab_size = len(proto.pieces)
    trainer.byte_fallback = True
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = 0, 1, 2, 3
    trainer.user_defined_symbols.append("\n")
    normalizer = proto.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = False
    normalizer.remove_extra_whitespaces = False
    return proto.SerializeToString(deterministic=True)


def main() -> None:
    """Write the model to the path on the command line, or beside this script."""
    parser = argparse.ArgumentParser(description="Write the tiny tokenizer's sentencepiece model.")
    parser.add_argument("target", nargs="?", type=Path, default=Path(__file__).parent / "model.spm")
    target: Path = parser.parse_args().target
    target.write_bytes(model_bytes())


if __name__ == "__main__":
    main()
