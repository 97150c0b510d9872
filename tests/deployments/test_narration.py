"""What a running flow says on the terminal."""

import io
import logging

import pytest
from rich.console import Console

from deployments.cli.narration import narrated


def test_a_warning_is_told_once_whoever_gives_it() -> None:
    """Flows, tasks and stages; an error waits for the end, brackets are no markup."""
    text = io.StringIO()
    of_run = {"send_to_api": False}

    with narrated(Console(file=text, width=100)):
        logging.getLogger("prefect.flow_runs").warning("out of turn", extra=of_run)
        logging.getLogger("prefect.task_runs").warning("retried", extra=of_run)
        logging.getLogger("recap_core.data.validate").warning("frames [3] are dark")
        logging.getLogger("recap_core.data.validate").error("told by the flow's error")
    logging.getLogger("recap_core.data.validate").warning("too late")

    assert text.getvalue() == "out of turn\nretried\nframes [3] are dark\n"


def test_a_finished_task_is_one_line_and_nothing_else_is(caplog: pytest.LogCaptureFixture) -> None:
    """Prefect's other messages, and other loggers, stay in the log file."""
    text = io.StringIO()
    logger = logging.getLogger("prefect.task_runs")
    caplog.set_level(logging.INFO, logger=logger.name)
    of_task = {"task_run_name": "label-a", "send_to_api": False}  # there is no server here

    with narrated(Console(file=text, width=100)):
        logger.info("Finished in state Cached(type=COMPLETED)", extra=of_task)
        logger.info("Retry 1/1 will start", extra=of_task)
        logger.info("Finished in state Completed()", extra={"send_to_api": False})
    logger.info("Finished in state Completed()", extra=of_task)

    assert text.getvalue().split()[:2] == ["label-a", "cached"]
    assert text.getvalue().count("\n") == 1
