"""Policy setups by name.

A name of the reference stack or of openpi gives the settings that it has there; repository id,
asset id and task text are parameters whose defaults are the reference's.

openpi keeps twins of its configs for serving (``<name>_infer``), which differ only in that no
advantage clause is dropped. Serving never drops it here, so both names mean one setup. The labels
of later rounds have names too: ``<name>_recap_v2`` trains on ``<dataset>_vlm_label_v2``.
"""

import difflib
import re
from collections.abc import Mapping

from pydantic import ValidationError

from recap_core.config.embodiment import EmbodimentConfig
from recap_core.config.policy_setup import PolicySetup
from recap_core.config.setups import OPENPI_SETUPS, REFERENCE_SETUPS
from recap_core.errors import ConfigError

SETUPS: Mapping[str, PolicySetup] = {
    setup.name: setup for setup in (*REFERENCE_SETUPS, *OPENPI_SETUPS)
}
"""Setup by name, without twins and later rounds."""

_TWIN = "_infer"
_LATER_ROUND = re.compile(r"(?P<name>.+_recap)(?P<round>_v[1-9][0-9]*)")


def policy_setup_names() -> list[str]:
    """All names, those of the reference first, without twins and later rounds."""
    return list(SETUPS)


def policy_setup(
    name: str,
    *,
    dataset: str | None = None,
    task: str | None = None,
    asset_id: str | None = None,
    embodiment: EmbodimentConfig | None = None,
) -> PolicySetup:
    """The setup of a name.

    Args:
        name: One of :func:`policy_setup_names`, also with ``_infer`` behind it, or a later round.
        dataset: Repository id instead of the reference's.
        task: Default prompt instead of the reference's.
        asset_id: Directory of the norm stats instead of the reference's.
        embodiment: Another robot instead of the reference's; ``task`` and ``asset_id`` still count.

    Raises:
        ConfigError: If there is none (names the closest), or ``asset_id`` is no directory.
    """
    setup = _found(name)
    robot = embodiment or setup.train.policy.embodiment
    given = {"default_prompt": task, "asset_id": asset_id}
    changed = {field: value for field, value in given.items() if value is not None}
    try:
        robot = EmbodimentConfig.model_validate(robot.model_dump() | changed)
    except ValidationError as error:
        rule = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"asset_id {asset_id!r} {rule}") from None
    policy = setup.train.policy.model_copy(update={"embodiment": robot})
    train = setup.train.model_copy(update={"policy": policy})
    changes = {"train": train, "dataset": dataset or setup.dataset}
    if embodiment is not None:
        # Neither the reference's data nor the published norm stats are of this robot.
        changes |= {"dataset": dataset, "norm_stats_of": None}
    return setup.model_copy(update=changes)


def _found(name: str) -> PolicySetup:
    plain = name.removesuffix(_TWIN)
    if plain in SETUPS:
        return SETUPS[plain]
    later = _LATER_ROUND.fullmatch(plain)
    if later and later["name"] in SETUPS:
        first = SETUPS[later["name"]]
        changes = {"name": plain, "dataset": f"{first.dataset}{later['round']}"}
        return first.model_copy(update=changes)
    if name.startswith("pi0_fast"):
        raise ConfigError(
            f"{name!r} is a pi0-FAST policy, an architecture that is not part of this project. "
            "See what there is with: recap configs list"
        )
    longer = [known for known in SETUPS if plain and known.startswith(plain)]
    closest, *_ = longer or difflib.get_close_matches(plain, SETUPS, n=1, cutoff=0.0)
    raise ConfigError(
        f"no policy setup is called {name!r}; the closest is {closest!r}. "
        "See all with: recap configs list"
    )
