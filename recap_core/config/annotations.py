"""Corrections of what an operator marked, made after the fact."""

from typing import Literal

from pydantic import Field, model_validator

from recap_core.config.base import Config


class EpisodeAnnotation(Config):
    """What is now known of one episode; what is left out stays as earlier annotations said it."""

    episode: str = Field(min_length=1)
    """Name of the raw episode, or its number in the annotated dataset."""
    outcome: Literal["success", "failure", "recorded"] | None = None
    """Corrected outcome; ``recorded`` takes an earlier correction back."""
    excluded: bool | None = None
    """Leave the episode out of everything made from it; False takes it in again."""
    note: str | None = None
    """Why, for people."""


class AnnotateConfig(Config):
    """Annotations of episodes of one recording or dataset."""

    episodes: tuple[EpisodeAnnotation, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_episode_once(self) -> "AnnotateConfig":
        names = [entry.episode for entry in self.episodes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"episode {twice[0]} is annotated twice; keep one entry")
        return self
