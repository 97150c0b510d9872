"""The screen of ``recap collect``: drawn from the newest status, in a thread of its own.

The control loop only stores a status; nothing here can slow it. Every line is cut to the terminal;
what is left of 24 rows and more goes to the messages. Nothing is read from the keyboard.
"""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from textwrap import wrap

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from deployments.cli.collect_alarms import Alarm, alarms
from deployments.cli.collect_facts import Facts
from deployments.cli.collect_keys import KeyMeaning, key_meanings, keys_of
from deployments.cli.collect_letters import big_word
from deployments.cli.collect_panels import bar, clock_text, health_rows, session_rows
from recap_core.rollout.live import LiveStatus, Message, SafetySignal
from recap_core.rollout.phase import Phase

REFRESH_HZ = 8.0
_MAX_ALARMS = 4
_MAX_ROWS = 2
"""Of one alarm or message."""
_MIN_TWO_COLUMNS = 64
_SOURCE_COLUMNS = 10

_STOPPED = ("STOPPED", "bold #ffffff on #d70000", "nothing is sent to the robot")
_BANDS = {
    Phase.AUTONOMOUS: ("AUTONOMOUS", "bold #000000 on #00d75f", "the policy drives"),
    Phase.PAUSED: ("PAUSED", "bold #000000 on #ffd700", "the robot holds, nobody drives"),
    Phase.CORRECTING: ("CORRECTING", "bold #ffffff on #d7005f", "you drive"),
}
"""Word, style and meaning of every phase; terminals of 16 colours have four different ones, too."""
_CHIPS = {"error": "bold #ffffff on #d70000", "warning": "#000000 on #ffd700", "info": ""}


class CollectScreen:
    """The whole screen.

    Args:
        newest: Gives the newest status; None: the loop has not begun.
        facts: What stays the same all session.
        clock: Seconds, of a clock that never goes back.
    """

    def __init__(
        self,
        newest: Callable[[], LiveStatus | None],
        facts: Facts,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._newest = newest
        self._facts = facts
        self._clock = clock
        self._began_s = clock()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        status = self._newest()
        if status is None:
            yield Text(f"{self._facts.robot}: starting", style="bold")
            return
        yield from draw(
            status,
            self._facts,
            width=options.max_width,
            height=options.height or console.height,
            elapsed_s=self._clock() - self._began_s,
            is_ascii=options.ascii_only,
        )


@contextmanager
def shown(screen: CollectScreen, console: Console) -> Generator[None]:
    """Draw ``screen`` on the terminal's second page inside the block; the first one comes back."""
    with Live(
        screen,
        console=console,
        screen=True,
        refresh_per_second=REFRESH_HZ,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield


def draw(  # noqa: PLR0913 - a frame and what is on it
    status: LiveStatus,
    facts: Facts,
    *,
    width: int,
    height: int,
    elapsed_s: float,
    is_ascii: bool = False,
) -> list[Text]:
    """The lines of the screen: no more than ``height``, none wider than ``width``."""
    top = [
        _title(status, facts, width, elapsed_s),
        *_band(status, width, is_ascii=is_ascii),
        _episode(status, width, is_ascii=is_ascii),
        *_alarm_lines(alarms(status, rate_hz=facts.rate_hz), width),
    ]
    panels = _panels(status, facts, width, is_ascii=is_ascii)
    keys = _keys(status, facts, width)
    num_left = height - len(top) - len(panels) - len(keys)
    is_roomy = num_left >= 6
    gap = [Text("")] if is_roomy else []
    messages = _messages(status.messages, num_left - 3 * len(gap), width)
    lines = [*top, *gap, *panels, *gap, *keys, *gap, *messages][:height]
    for line in lines:
        line.no_wrap = True
        line.truncate(width, overflow="crop" if is_ascii else "ellipsis")
    return lines


def _title(status: LiveStatus, facts: Facts, width: int, elapsed_s: float) -> Text:
    """Task on the left, robot and time on the right; the task gives way."""
    kind = "EVALUATION  " if facts.is_evaluation else ""
    right = f"  {kind}{facts.robot}  {clock_text(elapsed_s)} "
    left = Text(f" {status.task}", style="bold")
    left.truncate(max(width - len(right), 0), overflow="ellipsis", pad=True)
    return left.append(right, style="not bold")


def _band(status: LiveStatus, width: int, *, is_ascii: bool) -> list[Text]:
    """The phase in letters that nobody mistakes, and who drives."""
    word, style, meaning = _STOPPED if status.is_stopped else _BANDS[status.phase]
    if status.is_stopped:
        key = keys_of(SafetySignal.RESET, status)
        meaning += f"; {key} ends the stop" if key else "; no input can end the stop"
    rows = [*big_word(word, width=width, is_ascii=is_ascii), meaning.center(width)]
    if status.is_stopped:
        rows = [_hazard(row) for row in rows[:-1]] + rows[-1:]
    return [Text(row, style=style) for row in rows]


def _hazard(row: str) -> str:
    """Stripes left and right of a row, where it is empty."""
    num_free = len(row) - len(row.lstrip()), len(row) - len(row.rstrip())
    num = max(min(num_free) - 2, 0) if row.strip() else len(row) // 4
    stripes = "/" * len(row)
    return stripes[:num] + row[num : len(row) - num] + stripes[:num]


def _episode(status: LiveStatus, width: int, *, is_ascii: bool) -> Text:
    if not status.is_recording:
        dot = "-" if is_ascii else "○"
        return Text(f" {dot} not recording   next: episode {status.episode}")
    dot = "*" if is_ascii else "●"
    number = f"   episode {status.episode}   "
    time_text = f"{clock_text(status.episode_s)} of {clock_text(status.episode_limit_s)} "
    frames = f" {status.recorder.num_frames:,} frames "
    text = Text.assemble((f" {dot} RECORDING ", "bold red"), (number, "bold"), time_text)
    share = status.episode_s / status.episode_limit_s if status.episode_limit_s else 0.0
    space = width - text.cell_len - len(frames)
    return text.append(bar(share, space, is_ascii=is_ascii)).append(frames)


def _alarm_lines(found: list[Alarm], width: int) -> list[Text]:
    """Bands of colour, as loud as the phase; at most a few."""
    shown_ones = found[:_MAX_ALARMS]
    num_more = len(found) - len(shown_ones)
    lines = [
        Text(f" {'!' if i == 0 else ' '} {part}".ljust(width), style=_CHIPS[alarm.level])
        for alarm in shown_ones
        for i, part in enumerate(wrap(alarm.text, width - 4)[:_MAX_ROWS])
    ]
    if num_more:
        lines.append(Text(f" and {num_more} more problems".ljust(width), style=_CHIPS["error"]))
    return lines


def _panels(status: LiveStatus, facts: Facts, width: int, *, is_ascii: bool) -> list[Text]:
    """Session and health, side by side where there is room."""
    is_wide = width >= _MIN_TWO_COLUMNS
    left_width = min((width - 3) * 9 // 20, 60) if is_wide else width
    session = session_rows(
        status,
        width=left_width - 1,
        is_evaluation=facts.is_evaluation,
        target_rate=facts.target_rate,
        is_ascii=is_ascii,
    )
    health = health_rows(status, rate_hz=facts.rate_hz)
    session, health = ([Text(" ").append_text(row) for row in rows] for rows in (session, health))
    if not is_wide:
        return session + health
    num_rows = max(len(session), len(health))
    session += [Text("") for _ in range(num_rows - len(session))]
    health += [Text("") for _ in range(num_rows - len(health))]
    divider = " |" if is_ascii else " │"
    return [
        _padded(left, left_width).append(divider, style="dim").append_text(right)
        for left, right in zip(session, health, strict=True)
    ]


def _padded(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis", pad=True)
    return text


def _keys(status: LiveStatus, facts: Facts, width: int) -> list[Text]:
    """Every source with its keys; what would be refused now is dim."""
    lines = [_heading("KEYS")] if status.inputs else []
    for source in status.inputs:
        name = f" {source.name}".ljust(_SOURCE_COLUMNS)
        if source.problem is not None:
            lines.append(Text.assemble((name, "bold"), (" NOT WORKING ", _CHIPS["error"])))
            continue
        if not source.keys:
            lines.append(Text.assemble((name, "bold"), " takes every request"))
            continue
        meanings = key_meanings(source.keys, status, facts)
        lines += _flowing(Text(name, style="bold"), [_key(one) for one in meanings], width)
    return lines


def _heading(text: str) -> Text:
    return Text(" ").append(text, style="bold underline")


def _key(meaning: KeyMeaning) -> Text:
    if not meaning.is_legal:
        return Text(f" {meaning.keys}  {meaning.meaning}", style="dim")
    return Text.assemble((f" {meaning.keys} ", "bold reverse"), f" {meaning.meaning}")


def _flowing(name: Text, parts: list[Text], width: int) -> list[Text]:
    """Parts after a name, on as many lines as they need."""
    lines = [name]
    for part in parts:
        is_first = lines[-1].cell_len <= _SOURCE_COLUMNS
        if not is_first and lines[-1].cell_len + 2 + part.cell_len > width:
            lines.append(Text(" " * _SOURCE_COLUMNS))
            is_first = True
        lines[-1].append("" if is_first else "  ").append_text(part)
    return lines


def _messages(messages: Sequence[Message], num_rows: int, width: int) -> list[Text]:
    """The newest last, below a heading, in what is left of the screen."""
    num = max(num_rows - 1, 0)
    lines = [line for message in messages for line in _message(message, width)]
    if not lines or not num:
        return []
    return [_heading("MESSAGES"), *lines[-num:]]


def _message(message: Message, width: int) -> list[Text]:
    when = time.strftime(" %H:%M:%S ", time.localtime(message.time_s))
    parts = wrap(" ".join(message.text.split()), max(width - len(when) - 2, 8))[:_MAX_ROWS]
    style = _CHIPS[message.level]
    return [
        Text.assemble(
            (when if i == 0 else " " * len(when), "dim"),
            (f" {part} " if style else part, style),
        )
        for i, part in enumerate(parts)
    ]
