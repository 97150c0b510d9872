"""What garbage collection keeps."""

from typing import Literal

from pydantic import Field

from recap_core.config.base import Config


class RetentionConfig(Config):
    """What ``recap gc`` keeps beyond what refs need."""

    keep_rounds: int = Field(default=3, ge=1)
    """The last rounds of every project and robot stay whole: running them again is a look-up."""
    older_policies: Literal["all", "promoted"] = "all"
    """Policies of older rounds: every one, or those alone that were ever promoted."""
    older_value_models: bool = True
    """Keep the value models of older rounds: one trained anew differs, and so would all that a
    round and every later one made with it, if somebody ran them again."""
    older_values: bool = True
    """Keep the values of older rounds: four bytes per frame."""
    originals: bool = True
    """Keep recordings, annotations, imports and evaluations that nothing needs: no stage can make
    them again."""
    unused_days: float = Field(default=14.0, ge=0)
    """Whatever belongs to no ref and no round stays for so long after it was last used, and so does
    whatever somebody named to serve it, evaluate it or carry it away."""
    recent_hours: float = Field(default=1.0, ge=0)
    """Whatever a run made or asked for within that time stays."""
    work_days: float = Field(default=14.0, ge=0)
    """Unfinished work, such as train state, stays for so long after it last grew."""
    cache_days: float = Field(default=30.0, ge=0)
    """Decoded frames, features and compiled programs stay for so long after they were last read."""
    corrupt_days: float = Field(default=7.0, ge=0)
    """Damaged artifacts that were moved aside stay for so long."""
