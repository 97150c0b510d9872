"""Kinds of work: how pages group and colour artifacts and the time and disk they took."""

from typing import Final, Literal

type Family = Literal["recording", "data", "value", "policy", "judgement"]

FAMILIES: dict[Family, str] = {
    "recording": "recording",
    "data": "data",
    "value": "value model and labels",
    "policy": "policy training",
    "judgement": "evaluation and reports",
}
"""In the order of a round, with their names; the keys are CSS classes."""

_OF_KIND: Final[dict[str, Family]] = {
    "recording": "recording",
    "annotations": "data",
    "dataset": "data",
    "dataset_copy": "data",
    "relabeled_dataset": "data",
    "norm_stats": "data",
    "value_checkpoint": "value",
    "values": "value",
    "labels": "value",
    "policy_checkpoint": "policy",
}


def family_of(kind: str) -> Family:
    """The kind of work that makes artifacts of a kind."""
    return _OF_KIND.get(kind, "judgement")
