"""Bytes, durations and counts as people read them."""

_UNITS = ("B", "kB", "MB", "GB", "TB")


def bytes_text(size: float) -> str:
    """A size with its unit, three digits at most: ``4.2 GB``."""
    for unit in _UNITS:
        if size < 999.5 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def seconds_text(seconds: float) -> str:
    """A duration, such as ``12 s``, ``3 min 05 s`` or ``4 h 20 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def count_text(number: int, noun: str) -> str:
    """``1 artifact``, ``2 artifacts``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
