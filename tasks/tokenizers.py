"""Tokenizers in the settings of a run."""

from recap_core.config.flows import ProjectConfig


def following_tokenizers(saved: ProjectConfig, changed: ProjectConfig) -> ProjectConfig:
    """Settings of a run that name the tokenizers' files as they are now.

    Args:
        saved: The project's.
        changed: The run's.
    """
    from recap_core.stages.tokenizers import following_tokenizers

    return following_tokenizers(saved, changed)
