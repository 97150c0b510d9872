"""Task texts: what the policy is told."""

from collections.abc import Generator, Sequence

from recap_core.data.checks.finding import Finding, Place

MAX_CHARACTERS = 200
"""About 50 tokens; the prompt also carries the state and ``adv_ind``."""


def check_prompts(tasks: Sequence[str]) -> Generator[Finding]:
    """Empty, long and broken prompts, and those that differ in case or blanks only.

    Args:
        tasks: Task texts by ``task_index``.
    """
    seen: dict[str, str] = {}
    for index, task in enumerate(tasks):
        for severity, rule in _problems(task):
            yield Finding(
                severity="error" if severity == "error" else "warning",
                check="prompts",
                where=Place(feature=f"task {index}"),
                value=repr(task if len(task) <= 60 else f"{task[:60]}..."),
                rule=rule,
                fix="convert again with another task text",
            )
        plain = " ".join(task.split()).casefold().rstrip(".!")
        if plain in seen:
            yield Finding(
                severity="warning",
                check="prompts",
                where=Place(feature=f"task {index}"),
                value=f"{task!r} and {seen[plain]!r}",
                rule="they differ in case, blanks or the full stop only, but are two tasks",
                fix="convert both with one task text, so that they are one task",
            )
        seen.setdefault(plain, task)


def _problems(task: str) -> Generator[tuple[str, str]]:
    if not task.strip():
        yield "error", "a prompt says what to do; an empty one trains a policy without a task"
    elif task != task.strip():
        yield "warning", "blanks at the end of a prompt become tokens"
    if any(not character.isprintable() for character in task.strip()):
        yield "warning", "line breaks and control characters are never typed at inference"
    if len(task) > MAX_CHARACTERS:
        yield "warning", f"more than {MAX_CHARACTERS} characters may be cut by the tokenizer"
