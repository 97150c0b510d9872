"""Numbers in words: rates, differences, durations and counts as a reader expects them."""

import math

type Number = float | int  # shape checks take float at its word

MINUS = "\N{MINUS SIGN}"
NARROW_SPACE = "\N{NARROW NO-BREAK SPACE}"


def decimal(value: Number, digits: int = 3) -> str:
    """``value`` with a true minus sign; an en dash where it is not finite."""
    if not math.isfinite(value):
        return "\N{EN DASH}"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: Number, digits: int = 3) -> str:
    """``value`` with its sign, also when positive."""
    text = decimal(value, digits)
    return f"+{text}" if value > 0 and text[0].isdigit() else text


def percent(share: Number, digits: int = 1) -> str:
    """0.667 as ``66.7 %``."""
    return f"{decimal(100 * share, digits)}{NARROW_SPACE}%"


def percent_range(low: Number, high: Number) -> str:
    """0.588 and 0.737 as ``58.8 to 73.7 %``."""
    return f"{decimal(100 * low, 1)} to {percent(high)}"


def points(difference: Number) -> str:
    """A difference of two rates in percentage points: 0.373 as ``+37.3``."""
    return signed(100 * difference, 1)


def count(value: int) -> str:
    """3091 as ``3,091``."""
    return f"{value:,}"


def duration(seconds: Number) -> str:
    """Seconds as ``< 0.1 s``, ``0.4 s``, ``41 s``, ``3 min 25 s`` or ``2 h 05 min``."""
    if 0 < seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def rate(per_second: Number) -> str:
    """A speed: ``3,421``, ``87`` or ``0.62``."""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


def compact(value: Number) -> str:
    """A tick label: as few digits as the value needs, thousands as ``k``."""
    if abs(value) >= 1000:
        return f"{value / 1000:g}k".replace("-", MINUS)
    return f"{value:g}".replace("-", MINUS)


def signed_compact(value: Number) -> str:
    """A tick label of a difference: zero has no sign."""
    return f"+{compact(value)}" if value > 0 else compact(value)


def bytes_text(size: int) -> str:
    """A size as ``0 B``, ``512 B``, ``4.2 kB``, ``118 MB`` or ``3.4 GB``."""
    if size < 1000:
        return f"{size} B"
    value, units = size / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.{0 if value >= 99.5 else 1}f} {units[0]}"
