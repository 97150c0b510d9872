"""Import: a LeRobot dataset that somebody else recorded becomes a RECAP dataset."""

from typing import Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config

type RecapColumn = Literal[
    "intervention", "reward", "reward_label", "value_label", "adv_ind", "phase"
]


class ImportConfig(Config):
    """Where the RECAP columns of an imported dataset come from."""

    source_digest: str = ""
    """Digest of the imported files; the stage fills it in."""
    source: str = ""
    """What episodes say they come from if they do not know it themselves; empty: the stage fills in
    the digest, which no other dataset has."""
    round_index: int | None = Field(default=None, ge=0)
    """Round of every episode; None: the dataset's own, else 0 for demonstrations and 1 for
    rollouts."""
    demonstrations: bool = False
    """A human drove all frames, and every episode succeeded."""
    intervention_from: str | None = None
    """Column that marks the frames a human drove; None: found by its name, absent means none."""
    success_from: str | None = None
    """Frame column, or column of ``meta/episodes``, that holds the outcome; None: found by its
    name."""
    outcomes: tuple[tuple[int, bool], ...] | None = None
    """(episode, success) of every episode, in any order."""
    all_outcomes: Literal["success", "failure"] | None = None
    """One outcome for all episodes."""
    recompute: tuple[RecapColumn, ...] = ()
    """RECAP columns of the source that are ignored and written anew."""
    rename: dict[str, str] = Field(default_factory=dict)
    """New name by source name, of columns and cameras."""
    drop: tuple[str, ...] = ()
    """Columns and cameras, by source name, that the result does not get."""

    @model_validator(mode="after")
    def _one_source_of_outcomes(self) -> "ImportConfig":
        given = {
            "demonstrations": self.demonstrations,
            "success_from": self.success_from is not None,
            "outcomes": self.outcomes is not None,
            "all_outcomes": self.all_outcomes is not None,
        }
        named = [name for name, is_given in given.items() if is_given]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} each decide the outcomes; keep one")
        if self.demonstrations and self.intervention_from is not None:
            raise ValueError(
                "in demonstrations every frame is a human's; leave intervention_from out"
            )
        return self

    @model_validator(mode="after")
    def _columns_named_once(self) -> "ImportConfig":
        targets = list(self.rename.values())
        twice = sorted({name for name in targets if targets.count(name) > 1})
        if twice:
            raise ValueError(f"two columns are renamed to {twice[0]}; give each its own name")
        both = sorted(set(self.rename) & set(self.drop))
        if both:
            raise ValueError(f"{both[0]} is renamed and dropped; decide for one")
        return self
