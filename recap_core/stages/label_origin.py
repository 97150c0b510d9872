"""Where labels come from: the values behind them, and the rule that made them."""

import json
from pathlib import Path
from typing import Any

from recap_core.errors import DataError
from recap_core.lineage.artifacts import Labels, Values
from recap_core.lineage.store import Store
from recap_core.stages.label import RULE_FILE


def values_behind(labels: Labels, store: Store) -> Values | Labels | None:
    """The artifact that holds V of the labels' frames; None if there is none.

    Labels of ours are made from values; imported ones may hold them themselves.

    Raises:
        ArtifactNotFoundError: If the values were removed.
    """
    from recap_core.valuation.values import holds_values

    if len(labels.parents) == 1:
        return labels if holds_values(store.path(labels)) else None
    values = store.get(labels.parents[1])
    return values if isinstance(values, Values) else None


def read_rule(directory: Path) -> dict[str, Any] | None:
    """``rule``, ``thresholds`` and ``groups`` of stored labels; None if another tool made them.

    Raises:
        DataError: If the file cannot be read.
    """
    path = directory / RULE_FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        thresholds = dict(content["thresholds"])
        # Before version 2 of the stage there were no groups but tasks, and no sizes of pools.
        before = [{"name": task, "threshold": value} for task, value in thresholds.items()]
        groups = [dict(group) for group in content.get("groups", before)]
        return {"rule": dict(content["rule"]), "thresholds": thresholds, "groups": groups}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error!r}). Label again.") from error
