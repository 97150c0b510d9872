"""A label rule as a sentence."""

from recap_core.config.labels import LABEL_PRESETS, LabelConfig

_TAILS = {
    "last_value": "V of the last frame",
    "zero": "0",
    "outcome": "0 after a success, -1 after a failure",
}
_POOLS = {
    "autonomous": "autonomous frames",
    "autonomous_latest_round": "autonomous frames of the latest round",
    "all": "all frames, corrections and demonstrations included",
}


def rule_in_words(config: LabelConfig) -> str:
    """What is positive, of what, and how the advantage is counted."""
    lookahead = "the whole episode" if config.lookahead is None else f"{config.lookahead} frames"
    cut = ", cut at a takeover" if config.cut_at_takeover else ""
    per = {"task": "of each task", "source": "of each source", "dataset": "of the dataset"}[
        config.threshold_per
    ]
    if config.threshold is not None:
        verb = "above" if config.comparison == "above" else "of at least"
        positive = f"advantages {verb} {config.threshold:g} are positive"
    else:
        ties = ", with ties" if config.selection == "quantile" else ""
        positive = (
            f"the top {config.positive_share:.0%} {per}{ties} (pool: {_POOLS[config.pool]}) are "
            "positive"
        )
    is_complete = config.lookahead is None and config.tail == "last_value"
    tail = "0, the return being complete" if is_complete else _TAILS[config.tail]
    return (
        f"Advantage over {lookahead}{cut}; {positive}; value past the end: {tail}; "
        f"targets: {config.targets.rule.replace('_', ' ')}{_exceptions(config)}."
    )


def _exceptions(config: LabelConfig) -> str:
    """What the rule does with frames that a human drove or that are paused, where it is unusual."""
    words = []
    if config.targets.discount != 1.0:
        words.append(f"discount: {config.targets.discount:g}")
    if config.interventions == "by_advantage":
        words.append("corrections are judged by advantage")
    if config.frozen_arms is not None:
        label = "judged by advantage" if config.frozen_arms.label == "by_advantage" else "not used"
        words.append(f"corrections in which an arm stood still are {label}")
    if config.demonstrations != "keep":
        how = "positive" if config.demonstrations == "positive" else "judged by advantage"
        words.append(f"demonstrations are {how}")
    if config.paused_frames == "autonomous":
        words.append("paused frames count as autonomous")
    return "".join(f"; {part}" for part in words)


def preset_name(config: LabelConfig) -> str | None:
    """The preset that the settings are, if they are one."""
    return next((name for name, preset in LABEL_PRESETS.items() if preset == config), None)
