"""What a running flow says on the terminal."""

import io
import logging

from rich.console import Console

from deployments.cli.narration import narrated


def test_a_finished_task_is_one_line_and_nothing_else_is() -> None:
    """Prefect's other messages, and other loggers, stay in the log file."""
    text = io.StringIO()
    logger = logging.getLogger("prefect.task_runs")
    logger.setLevel(logging.INFO)
    of_task = {"task_run_name": "label-a", "send_to_api": False}  # there is no server here

    with narrated(Console(file=text, width=100)):
        logger.info("Finished in state Cached(type=COMPLETED)", extra=of_task)
        logger.info("Retry 1/1 will start", extra=of_task)
        logger.info("Finished in state Completed()", extra={"send_to_api": False})
    logger.info("Finished in state Completed()", extra=of_task)

    assert text.getvalue().split()[:2] == ["label-a", "cached"]
    assert text.getvalue().count("\n") == 1
