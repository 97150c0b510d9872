"""``recap``, and ``python -m deployments.cli``: Ctrl-C is one line from the first moment."""

import os
import signal
from types import FrameType


def main() -> None:
    """Load the commands, then run one.

    Loading takes tenths of a second and has changed nothing yet, so Ctrl-C simply ends it: an
    exception would come out of whatever module is being executed.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)
    from deployments.cli.main import run

    signal.signal(signal.SIGINT, before)
    run()


def _leave(number: int, frame: FrameType | None) -> None:
    del number, frame
    os.write(2, b"interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    main()
