"""The digests of tokenizers in settings: of the files that models will read on this machine.

They are part of the stage keys, so a digest that does not follow its file either makes nothing anew
that should be, or is refused by the first training after hours of collecting.
"""

import logging
from collections.abc import Mapping
from typing import Any, cast

from recap_core.config.base import Config
from recap_core.errors import ConfigError

_log = logging.getLogger(__name__)


def following_tokenizers[C: Config](saved: C, changed: C) -> C:
    """``changed``, every prompt naming the digest of its tokenizer's file as it is now.

    A digest that ``changed`` names by itself, or that nobody has named, is left alone; so is one
    whose file is not on this machine, as long as the prompt names the same tokenizer as before.

    Args:
        saved: The settings of a project, as they were saved.
        changed: The same with the changes of one run.

    Raises:
        ConfigError: If another tokenizer was chosen, and its file is missing.
    """
    settings = changed.model_dump(mode="json")
    digests = _Digests()
    _follow(saved.model_dump(mode="json"), settings, digests)
    for tokenizer in sorted(digests.replaced):
        _log.warning(
            "tokenizer %r is another file than when the project was set up (digest %s now): "
            "whatever reads it is made anew",
            tokenizer,
            digests[tokenizer],
        )
    return type(changed).model_validate(settings)


def tokenizer_file_digest(tokenizer: str) -> str:
    """Digest of the file that a tokenizer's name stands for here.

    Raises:
        ConfigError: If there is no such file; says where to get it.
    """
    from recap_core.config.environment import weights_dir
    from recap_core.models.tokenizer import tokenizer_digest, tokenizer_path

    return tokenizer_digest(tokenizer_path(tokenizer, weights_dir=weights_dir()))


class _Digests(dict[str, str]):
    """By tokenizer; each file is read once."""

    def __init__(self) -> None:
        super().__init__()
        self.replaced: set[str] = set()
        """Tokenizers whose file is another one than it was."""

    def __missing__(self, tokenizer: str) -> str:
        self[tokenizer] = tokenizer_file_digest(tokenizer)
        return self[tokenizer]


def _follow(saved: Mapping[str, Any], changed: dict[str, Any], digests: _Digests) -> None:
    for name, value in changed.items():
        before = saved.get(name)
        if not isinstance(value, dict) or not isinstance(before, Mapping):
            continue
        settings = cast("dict[str, Any]", value)
        old = cast("Mapping[str, Any]", before)
        if name != "prompt":
            _follow(old, settings, digests)
        elif settings["tokenizer_digest"] is None:
            continue
        elif settings["tokenizer_digest"] == old["tokenizer_digest"]:
            settings["tokenizer_digest"] = _digest(old, settings["tokenizer"], digests)


def _digest(old: Mapping[str, Any], tokenizer: str, digests: _Digests) -> str:
    """Of the file now, or as it was named where the same tokenizer is not on this machine."""
    try:
        found = digests[tokenizer]
    except ConfigError:
        if tokenizer != old["tokenizer"]:
            raise
        return old["tokenizer_digest"]
    if tokenizer == old["tokenizer"] and found != old["tokenizer_digest"]:
        digests.replaced.add(tokenizer)
    return found
