"""Labels of other RECAP tools: which tool, and what its files cannot say by themselves."""

from typing import Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config

type LabelTool = Literal["rlinf", "evo_rl", "kai0", "opentau"]

TAGGED = ("rlinf", "evo_rl")
"""Tools that keep several labellings of one dataset apart by a tag in a name."""
WITHOUT_NONE = ("rlinf", "evo_rl", "opentau")
"""Tools whose labels are positive or negative, and nothing else."""
WITH_ADVANTAGE = ("rlinf", "evo_rl", "opentau")
"""Tools that keep the advantage."""


class _ToolConfig(Config):
    tool: LabelTool
    tag: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$")
    """Name of the labelling, for RLinf and Evo-RL: part of a file's or a column's name."""

    def _only_for(self, name: str, tools: tuple[str, ...]) -> None:
        if getattr(self, name) is not None and self.tool not in tools:
            raise ValueError(
                f"{name} is {getattr(self, name)!r}, which {self.tool} has no use for; it belongs "
                f"to {', '.join(tools)}, so leave it out"
            )

    @model_validator(mode="after")
    def _tag_belongs_to_tagged_tools(self) -> "_ToolConfig":
        self._only_for("tag", TAGGED)
        return self


class LabelSourceConfig(_ToolConfig):
    """How to read another tool's labels."""

    threshold: float | None = None
    """OpenTau's ``advantage_threshold``: its files hold advantages only, and a frame is positive
    from the threshold upwards."""

    @model_validator(mode="after")
    def _threshold_belongs_to_opentau(self) -> "LabelSourceConfig":
        self._only_for("threshold", ("opentau",))
        if self.tool == "opentau" and self.threshold is None:
            raise ValueError(
                "OpenTau's files hold advantages and no labels; give the threshold that its policy "
                "was trained with (advantage_threshold)"
            )
        return self


class ImportLabelsConfig(LabelSourceConfig):
    """Stage ``import_labels``: labels that another tool made, and what they say."""

    content_digest: str
    """xxh3-128 of the labels as they were read, in hexadecimal; not of the files, which also hold
    what does not concern labels."""


class ExportLabelsConfig(_ToolConfig):
    """How to write labels for another tool, and what becomes of what it cannot hold."""

    none_as: Literal["negative", "positive"] | None = None
    """What frames without a label become, for tools that have none of these; None refuses them."""
    fill_advantage: float | None = None
    """Advantage of frames that have none while others do; None refuses them."""
    failure_reward: float | None = Field(default=None, le=0)
    """RLinf: also write its returns, with this reward at the end of a failure."""
    signs: bool | None = None
    """OpenTau: write +1 for positive and -1 for negative instead of the advantage."""

    @model_validator(mode="after")
    def _options_belong_to_their_tools(self) -> "ExportLabelsConfig":
        self._only_for("none_as", WITHOUT_NONE)
        self._only_for("fill_advantage", WITH_ADVANTAGE)
        self._only_for("failure_reward", ("rlinf",))
        self._only_for("signs", ("opentau",))
        return self
