"""A stage in a process of its own: ``python -m tasks.child_main <job file> <descriptor>``.

The job file is JSON (:mod:`tasks.child_job`); log, progress and result are written to the
descriptor as JSON lines (:mod:`tasks.child_events`). Whatever else the process prints goes where
its parent sends it. Prefect is not imported.
"""

import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from recap_core.errors import RecapError
from recap_core.lineage.store import Store
from tasks.child_events import (
    Made,
    Speaker,
    StoppedError,
    ToldLog,
    ToldProgress,
    failure,
    flush_output,
)
from tasks.child_job import Job, decode_arguments
from tasks.lifeline import obey_parent
from tasks.stage_functions import call_stage

EXIT_BUG = 70
EXIT_STOPPED = 128 + signal.SIGTERM


def main(job_file: Path, descriptor: int) -> int:
    """Run the job, tell about it, and return the exit status."""
    job = Job.model_validate_json(job_file.read_text(encoding="utf-8"))
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    obey_parent(job.parent_pid, grace_s=job.cancel_grace_s)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        speaker = Speaker(stream)
        _send_logs(speaker)
        try:
            speaker.say(_made(job, ToldProgress(speaker)))
        except RecapError as error:
            speaker.say(failure(error))
            return error.exit_code
        except StoppedError as error:
            speaker.say(failure(error))
            return EXIT_STOPPED
        except BaseException as error:  # noqa: BLE001 - told to the parent, which raises it
            speaker.say(failure(error))
            return EXIT_BUG
        finally:
            flush_output()
    return 0


def _made(job: Job, progress: ToldProgress) -> Made:
    store = Store(job.home, refresh=[job.stage] if job.is_refreshed else ())
    arguments = decode_arguments(job, store)
    return Made(artifact=call_stage(job.stage, arguments, store=store, progress=progress).id)


def _send_logs(speaker: Speaker) -> None:
    """All warnings, and what our own code has to say."""
    logging.getLogger().addHandler(ToldLog(speaker))
    logging.getLogger("recap_core").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # one is enough; SIGKILL follows
    raise StoppedError("SIGTERM stopped the stage's process")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
