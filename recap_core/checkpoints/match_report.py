"""What was found of a value model in published weights, leaf by leaf."""

from collections.abc import Mapping

from pydantic import Field

from recap_core.config.base import Config


class SourceMatch(Config):
    """One checkpoint's share."""

    path: str
    layout: str
    parts: tuple[str, ...]
    """Top groups of the model that it fills."""
    step: int | None = None
    num_leaves: int
    """Leaves of the model that it fills."""
    num_params: int
    num_unused: int
    """Arrays in its files that the model has no place for."""
    unused: tuple[str, ...] = ()
    """The first of them."""
    notes: tuple[str, ...] = ()
    """What else a reader should know: rows left out, layers folded."""


class FreshPart(Config):
    """A top group of the model, or leaves of one, that no checkpoint holds."""

    num_leaves: int
    num_params: int


class MatchReport(Config):
    """Every leaf of the model: found in a source, or drawn fresh."""

    sources: tuple[SourceMatch, ...]
    fresh: dict[str, FreshPart] = Field(default_factory=dict)
    """By top group."""
    fresh_leaves: tuple[str, ...] = ()

    @property
    def num_params(self) -> int:
        """Numbers that come from the sources."""
        return sum(source.num_params for source in self.sources)

    def lines(self) -> list[str]:
        """What people read: a line per source, its unused arrays, and the fresh parts."""
        lines: list[str] = []
        for source in self.sources:
            step = "" if source.step is None else f", step {source.step}"
            lines.append(
                f"matched  {source.num_leaves} leaves, {source.num_params:,} parameters of "
                f"{', '.join(source.parts)} from {source.path} ({source.layout}{step})"
            )
            if source.num_unused:
                more = ", ..." if source.num_unused > len(source.unused) else ""
                lines.append(f"unused   {source.num_unused}: {', '.join(source.unused)}{more}")
            lines += [f"note     {note}" for note in source.notes]
        for part, fresh in self.fresh.items():
            lines.append(
                f"fresh    {fresh.num_leaves} leaves, {fresh.num_params:,} parameters of {part}"
            )
        return lines


def fresh_parts(sizes: Mapping[str, int]) -> dict[str, FreshPart]:
    """Fresh leaves by top group.

    Args:
        sizes: Number of parameters of every fresh leaf.
    """
    groups: dict[str, list[int]] = {}
    for leaf, size in sizes.items():
        groups.setdefault(leaf.partition("/")[0], []).append(size)
    return {
        part: FreshPart(num_leaves=len(found), num_params=sum(found))
        for part, found in groups.items()
    }
