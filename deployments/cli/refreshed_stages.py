"""Stages of ``--refresh``, by the names that tables and runs show."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from recap_core.errors import ConfigError

if TYPE_CHECKING:
    from flows.forms import StageName


def refreshed_stages(names: Sequence[str]) -> "tuple[StageName, ...]":
    """The stages that a run makes anew: ``train-value`` is ``train_value``.

    Raises:
        ConfigError: If there is no such stage.
    """
    from flows.forms import StageName, stage_names

    known: dict[str, StageName] = {name.replace("_", "-"): name for name in stage_names()}
    given = [name.replace("_", "-") for name in names]
    for name in given:
        if name not in known:
            close = get_close_matches(name, known, 1)
            meant = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
            raise ConfigError(f"no stage {name!r} to refresh; {meant}")
    return tuple(known[name] for name in given)
