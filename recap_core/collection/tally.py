"""What a session has come to so far."""

from recap_core.rollout.frame import Outcome
from recap_core.rollout.live import EpisodeSummary


class SessionTally:
    """Counts episodes, corrections and frames, towards a goal.

    Args:
        num_episodes: Saved episodes that are wanted; 0: no such goal.
        num_corrections: Corrections in saved episodes that are wanted; 0: no such goal.
    """

    def __init__(self, num_episodes: int, num_corrections: int) -> None:
        self._wanted_episodes = num_episodes
        self._wanted_corrections = num_corrections
        self.episodes: list[EpisodeSummary] = []
        """Saved ones, in order."""
        self.trials: list[bool] = []
        """Whether each of those that count has succeeded."""
        self.num_discarded = 0
        self.num_disqualified = 0
        """Saved episodes of an evaluation that do not count."""
        self.correction_index = 0
        """Corrections of the open episode."""
        self.is_disqualified = False
        """Whether the open episode does not count."""
        self.num_episode_frames = 0
        """Of the open episode."""
        self._is_open = False
        self._num_correcting = 0

    def begin(self, *, is_correcting: bool) -> None:
        """An episode begins, perhaps in the middle of a correction."""
        self.correction_index, self.is_disqualified = int(is_correcting), False
        self.num_episode_frames = self._num_correcting = 0
        self._is_open = True

    def corrected(self) -> None:
        """A correction begins."""
        self.correction_index += 1

    def frame(self, *, is_correcting: bool) -> None:
        """One more frame was recorded."""
        self.num_episode_frames += 1
        self._num_correcting += is_correcting

    def disqualify(self) -> None:
        """The open episode does not count."""
        self.is_disqualified = True

    def lost(self) -> None:
        """The open episode could not be saved."""
        self._is_open = False

    def discarded(self) -> None:
        """The open episode is deleted, as the operator wanted."""
        self.num_discarded += 1
        self._is_open = False

    def saved(self, summary: EpisodeSummary) -> None:
        """The open episode is saved."""
        self._is_open = False
        self.episodes.append(summary)
        self.num_disqualified += self.is_disqualified
        if not self.is_disqualified:
            self.trials.append(summary.outcome is Outcome.SUCCESS)

    @property
    def number(self) -> int:
        """Of the open or next episode, from 1; discarded ones count."""
        return len(self.episodes) + self.num_discarded + 1

    @property
    def num_successes(self) -> int:
        """Of the saved episodes that count."""
        return sum(self.trials)

    @property
    def num_failures(self) -> int:
        """Of the saved episodes that count."""
        return len(self.trials) - self.num_successes

    @property
    def num_corrections(self) -> int:
        """Corrections in saved episodes."""
        return sum(episode.num_corrections for episode in self.episodes)

    @property
    def num_corrections_so_far(self) -> int:
        """Those of the open episode, too."""
        return self.num_corrections + (self.correction_index if self._is_open else 0)

    @property
    def correcting_share(self) -> float:
        """Share of the frames that the operator drove, of saved episodes and the open one."""
        num_frames = sum(episode.num_frames for episode in self.episodes)
        num_correcting = sum(episode.num_correcting_frames for episode in self.episodes)
        if self._is_open:
            num_frames += self.num_episode_frames
            num_correcting += self._num_correcting
        return num_correcting / num_frames if num_frames else 0.0

    @property
    def is_reached(self) -> bool:
        """Whether there is a goal, and it is reached."""
        return self.goal_share >= 1

    @property
    def goal(self) -> str:
        """The goal in words."""
        words = []
        if self._wanted_episodes:
            words.append(f"{len(self.trials)} of {self._wanted_episodes} episodes")
        if self._wanted_corrections:
            words.append(f"{self.num_corrections} of {self._wanted_corrections} corrections")
        return " and ".join(words) or f"{len(self.episodes)} episodes, no goal"

    @property
    def goal_share(self) -> float:
        """How much of the goal is reached, 0 to 1; 0 where there is none."""
        shares = []
        if self._wanted_episodes:
            shares.append(len(self.trials) / self._wanted_episodes)
        if self._wanted_corrections:
            shares.append(self.num_corrections / self._wanted_corrections)
        return min(*shares, 1.0) if shares else 0.0
