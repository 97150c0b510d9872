"""Whether the episodes of an imported dataset succeeded: where that is written, and how."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from recap_core.config.import_dataset import ImportConfig
from recap_core.data.columns import REWARD
from recap_core.errors import ColumnError, ConfigError, DataError

SUCCESS_COLUMNS: Final = ("next.success", "success", "is_success", "episode_success")
"""Where an outcome is looked for first: as a frame column, then in ``meta/episodes``."""
REWARD_COLUMNS: Final = ("next.reward", REWARD)
"""Where it is looked for last."""
WORDS: Final = {
    **dict.fromkeys(("1", "true", "success"), True),
    **dict.fromkeys(("0", "false", "failure"), False),
}
OPTIONS: Final = (
    "Say it with --outcomes FILE.csv, --success-from COLUMN, --all-success, --all-failure or "
    "--demonstrations."
)


class Outcomes(NamedTuple):
    """How the outcome of an episode is found."""

    column: str | None
    """Frame column that has to be read, by source name."""
    of_episode: Callable[[int, np.ndarray], bool]
    """Outcome by episode index and the values of ``column`` (empty if there is none)."""
    origin: str
    """In words, for people."""


def find_outcomes(
    config: ImportConfig,
    *,
    columns: Mapping[str, str],
    episodes: Mapping[str, Sequence[Any]],
    num_episodes: int,
) -> Outcomes:
    """Decide where outcomes come from: as told, else the first known place.

    Args:
        config: What the user said.
        columns: Source name of every frame column, by the names it goes by.
        episodes: Columns of ``meta/episodes``, one entry per episode.
        num_episodes: Episodes of the dataset.

    Raises:
        ConfigError: If a column that was named does not exist.
        DataError: If no outcome is known, or given outcomes do not fit the episodes.
    """
    told = _as_told(config, num_episodes)
    if told is not None:
        return told
    if config.success_from is not None:
        return _from_named(config.success_from, columns, episodes)
    for name in SUCCESS_COLUMNS:
        if name in columns:
            return _from_success_column(columns[name])
        if name in episodes:
            return _from_metadata(name, episodes[name])
    for name in REWARD_COLUMNS:
        # A column that is to be made anew is no witness of itself.
        if name in columns and name not in config.recompute:
            return _from_reward(columns[name], is_told=False)
    raise DataError(
        "no outcome is known: there is no next.success, success, is_success, episode_success, "
        f"next.reward or reward in the frames or in meta/episodes. {OPTIONS}"
    )


def read_outcomes(path: Path) -> tuple[tuple[int, bool], ...]:
    """Outcomes from a CSV file with the columns ``episode_index`` and ``success``.

    ``success`` is 1, true or success, or 0, false or failure; other columns are ignored.

    Raises:
        DataError: If the file cannot be read, a word is unknown, or an episode appears twice.
    """
    found: dict[int, bool] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            header = rows.fieldnames or ()
            if not {"episode_index", "success"} <= set(header):
                raise DataError(
                    f"{path} begins with {','.join(header)!r}; its first line must name the "
                    "columns episode_index,success."
                )
            for row in rows:
                number, word = (row["episode_index"] or "").strip(), (row["success"] or "").strip()
                where = f"line {rows.line_num} of {path}"
                if not number.isascii() or not number.isdigit():
                    raise DataError(f"{where}: episode_index is {number!r}, not a whole number.")
                if word.lower() not in WORDS:
                    raise DataError(f"{where}: success is {word!r}, not one of {', '.join(WORDS)}.")
                if int(number) in found:
                    raise DataError(f"{where}: episode {int(number)} appears twice. Keep one line.")
                found[int(number)] = WORDS[word.lower()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"outcomes {path} cannot be read ({error}). Check the file.") from error
    return tuple(sorted(found.items()))


def _as_told(config: ImportConfig, num_episodes: int) -> Outcomes | None:
    """Outcomes that do not depend on what the dataset says."""
    if config.demonstrations:
        return Outcomes(None, lambda *_: True, "demonstrations succeed")
    if config.all_outcomes is not None:
        is_success = config.all_outcomes == "success"
        return Outcomes(None, lambda *_: is_success, f"all {config.all_outcomes}, as told")
    if config.outcomes is None:
        return None
    given = dict(config.outcomes)
    if len(given) < len(config.outcomes):
        raise DataError("the outcomes name an episode twice. Keep one outcome per episode.")
    unknown = sorted(set(given) - set(range(num_episodes)))
    if unknown:
        raise DataError(
            f"the outcomes name episode {unknown[0]} ({len(unknown)} such), but the dataset has "
            f"episodes 0 to {num_episodes - 1}. Remove those lines, or import the right dataset."
        )
    missing = sorted(set(range(num_episodes)) - set(given))
    if missing:
        raise DataError(
            f"the outcomes lack episode {missing[0]} ({len(missing)} of {num_episodes} are "
            "missing). Give every episode one."
        )
    return Outcomes(None, lambda episode, _: given[episode], "outcomes as given")


def _from_named(
    name: str, columns: Mapping[str, str], episodes: Mapping[str, Sequence[Any]]
) -> Outcomes:
    if name in columns:
        if name.rpartition(".")[2] == REWARD:
            return _from_reward(columns[name], is_told=True)
        return _from_success_column(columns[name])
    if name in episodes:
        return _from_metadata(name, episodes[name])
    raise ConfigError(
        f"success_from is {name!r}, but the frames have {', '.join(columns)}, and meta/episodes "
        f"{', '.join(episodes)}. Name one of these."
    )


def _from_success_column(name: str) -> Outcomes:
    def of_episode(episode: int, values: np.ndarray) -> bool:
        flags = as_flags(values, name=name, where=f"episode {episode}")
        return bool(flags.any())

    return Outcomes(name, of_episode, f"{name} true at any frame")


def _from_metadata(name: str, values: Sequence[Any]) -> Outcomes:
    def of_episode(episode: int, _: np.ndarray) -> bool:
        value = values[episode]
        word = str(int(value)) if isinstance(value, bool | float) and value in {0, 1} else value
        if str(word).lower() not in WORDS:
            raise DataError(
                f"{name} of episode {episode} in meta/episodes is {value!r}, which says neither "
                f"success nor failure. {OPTIONS}"
            )
        return WORDS[str(word).lower()]

    return Outcomes(None, of_episode, f"{name} of meta/episodes")


def _from_reward(name: str, *, is_told: bool) -> Outcomes:
    """The last reward decides; unless told so, only where no other frame has a reward."""

    def of_episode(episode: int, values: np.ndarray) -> bool:
        if values.ndim != 1 or values.dtype.kind not in "bif":
            raise ColumnError(f"{name} is no column of numbers, so it holds no outcome. {OPTIONS}")
        earlier = np.flatnonzero(values[:-1])
        if not is_told and (earlier.size or values[-1] not in {0, 1}):
            frame = earlier[0] if earlier.size else len(values) - 1
            raise DataError(
                f"{name}[{frame}] of episode {episode} is {values[frame]:.4g}: a reward that is "
                "not just 1 at the end of a success does not say which episodes succeeded. "
                f"{OPTIONS} (--success-from {name}: whatever ends above 0 is a success.)"
            )
        return bool(values[-1] > 0)

    return Outcomes(name, of_episode, f"{name} above 0 at the last frame")


def as_flags(values: np.ndarray, *, name: str, where: str) -> np.ndarray:
    """A column of booleans, of 0 and 1, or of words for them, as booleans.

    Raises:
        ColumnError: If it is a vector, or a value is none of these.
    """
    if values.ndim != 1:
        raise ColumnError(
            f"{name} of {where} is a vector of {values.shape[1]} numbers, not a yes or no. Name "
            "another column."
        )
    if values.dtype.kind == "U":
        flags = np.array([WORDS.get(str(word).lower(), -1) for word in values])
    else:
        flags = values
    bad = np.flatnonzero(~np.isin(flags, (0, 1)))
    if bad.size:
        raise ColumnError(
            f"{name}[{bad[0]}] of {where} is {values[bad[0]]!s}, but it must be 0 or 1 "
            f"({bad.size} of {len(values)} frames are wrong). Correct the column, or name another."
        )
    return flags.astype(bool)
