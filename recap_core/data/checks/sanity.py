"""Whether a dataset can teach anything: outcomes, interventions, labels."""

from collections.abc import Generator

import numpy as np

from recap_core.config.validation import ValidateConfig
from recap_core.data.checks.episode import Episode
from recap_core.data.checks.finding import Finding, Place
from recap_core.data.columns import ADV_IND, INTERVENTION, PAUSED, PHASE, VALUE_LABEL


class SanityCheck:
    """Shares over all rollouts; episodes that a human drove throughout do not count."""

    def __init__(self, config: ValidateConfig) -> None:
        self._config = config
        self._num_rollouts = self._num_known = self._num_successes = 0
        self._num_frames = self._num_interventions = 0
        self._labels: dict[str, int] = {}
        self._num_unlabelled = 0
        self._first_unlabelled = Place(feature=ADV_IND)
        self._has_values = False
        self._is_all_failed = True

    def look(self, episode: Episode) -> Generator[Finding]:
        """Count one episode."""
        yield from ()
        if VALUE_LABEL in episode.columns:
            self._has_values = True
            self._is_all_failed &= bool((episode.columns[VALUE_LABEL] == -1).all())
        if ADV_IND in episode.columns:
            names, counts = np.unique(episode.columns[ADV_IND], return_counts=True)
            for name, count in zip(names.tolist(), counts.tolist(), strict=True):
                self._labels[name] = self._labels.get(name, 0) + count
        if episode.is_demonstration:
            return
        self._num_rollouts += 1
        if episode.success is not None:
            self._num_known += 1
            self._num_successes += episode.success
        if INTERVENTION in episode.columns:
            self._num_frames += episode.length
            self._num_interventions += int((episode.columns[INTERVENTION] == 1).sum())
        self._count_unlabelled(episode)

    def _count_unlabelled(self, episode: Episode) -> None:
        if ADV_IND not in episode.columns:
            return
        is_unlabelled = episode.columns[ADV_IND] == "none"
        if PHASE in episode.columns:
            is_unlabelled &= episode.columns[PHASE] != PAUSED
        if is_unlabelled.any() and not self._num_unlabelled:
            self._first_unlabelled = episode.place(ADV_IND, frame=int(np.argmax(is_unlabelled)))
        self._num_unlabelled += int(is_unlabelled.sum())

    def finish(self) -> Generator[Finding]:
        """Judge the shares."""
        if self._num_rollouts:
            yield from self._outcomes()
            yield from self._interventions()
        yield from self._values_and_labels()

    def _outcomes(self) -> Generator[Finding]:
        known, successes = self._num_known, self._num_successes
        if not known:
            return
        if successes in {0, known}:
            yield Finding(
                severity="warning",
                check="outcomes",
                value=f"all {known} rollouts are {'successes' if successes else 'failures'}",
                rule="a value model needs both outcomes to tell good from bad",
                fix="record more, keep failures too, and check the operator's marks",
            )
        else:
            yield from self._band("outcomes", successes / known, "success rate")

    def _interventions(self) -> Generator[Finding]:
        if self._num_frames:
            rate = self._num_interventions / self._num_frames
            yield from self._band("interventions", rate, "intervention rate")

    def _band(self, check: str, rate: float, what: str) -> Generator[Finding]:
        low, high = (
            self._config.success_rate if check == "outcomes" else self._config.intervention_rate
        )
        if not low <= rate <= high:
            advice = {
                ("outcomes", True): "easier starts, or more corrections",
                ("outcomes", False): "harder starts; the policy may be ready to promote",
                ("interventions", True): "correct earlier, or stop collecting: it goes well",
                ("interventions", False): "let the policy drive longer before taking over",
            }
            yield Finding(
                severity="warning",
                check=check,
                value=f"{what} {rate:.1%} over {self._num_rollouts} rollouts",
                rule=f"healthy rounds have {low:.0%} to {high:.0%}",
                fix=advice[check, rate < low],
            )

    def _values_and_labels(self) -> Generator[Finding]:
        if self._has_values and self._is_all_failed:
            yield Finding(
                severity="warning",
                check="outcomes",
                where=Place(feature=VALUE_LABEL),
                value="-1 in every frame",
                rule="all episodes are failures, so the value is the same everywhere",
                fix="record successes, or correct outcomes with an annotation",
            )
        labels = {name: count for name, count in self._labels.items() if count}
        if set(labels) == {"none"}:
            yield Finding(
                severity="warning",
                check="labels",
                where=Place(feature=ADV_IND),
                value=f"none in all {labels['none']} frames",
                rule="without corrections and before labelling there is nothing to condition on",
                fix="label the dataset, or check how it was recorded and converted",
            )
        elif "negative" in labels and self._num_unlabelled:
            yield Finding(
                severity="warning",
                check="labels",
                where=self._first_unlabelled,
                value=f"none in {self._num_unlabelled} autonomous frames",
                rule="a labelled dataset has positive or negative on every frame that ran",
                fix="label it again: a labelling run was broken off, or rounds are missing",
            )
