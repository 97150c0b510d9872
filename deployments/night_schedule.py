"""When nights start: what ``--nightly`` and ``--timezone`` say, checked."""

import sys
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect.schedules import Schedule

from recap_core.errors import ConfigError


def night_schedule(cron: str | None, timezone: str) -> Schedule | None:
    """When a night starts; None if ``cron`` is None.

    Raises:
        ConfigError: If it is no cron expression, or there is no such time zone.
    """
    if cron is None:
        return None
    try:
        ZoneInfo(timezone)
        return Schedule(cron=cron, timezone=timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f"--nightly {cron!r} in time zone {timezone!r} is no schedule ({error}). Write five "
            "fields, minute hour day month weekday, such as '0 2 * * *', and a time zone such as "
            "'Europe/Berlin'"
        ) from None


if __name__ == "__main__":
    try:
        night_schedule(sys.argv[1], sys.argv[2])
    except ConfigError as problem:
        sys.exit(f"error: {problem}")
