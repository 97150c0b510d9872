"""The pages over all rounds, each one HTML file without a script."""

import math
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment

from recap_core.reports import lineage_graph, round_lineage, round_plots, success
from recap_core.reports.families import FAMILIES
from recap_core.reports.page import page_environment, render_page
from recap_core.reports.round_content import VERDICT_WORDS
from recap_core.reports.site_content import (
    Addresses,
    ArtifactPage,
    HomePage,
    IterationPage,
    ProjectPage,
    RoundRow,
)

STYLE = "site.css"
_NOT_MEASURED = (math.nan, math.nan, math.nan)


class SitePages:
    """Renders pages; one for many of them, because templates are compiled once."""

    def __init__(self) -> None:
        self._environment = _environment()

    def home(self, page: HomePage, at: Addresses) -> str:
        """All projects of a store."""
        return self._page("site_home.html", at, page=page)

    def project(self, page: ProjectPage, at: Addresses) -> str:
        """All rounds of a project."""
        numbers = [row.value for row in page.rounds]
        return self._page(
            "site_project.html",
            at,
            page=page,
            newest_first=list(reversed(page.rounds)),
            spearman=[n.spearman if n else _NOT_MEASURED for n in numbers],
            separation=[n.separation if n else _NOT_MEASURED for n in numbers],
            cross_entropy=[
                (n.cross_entropy, math.nan, math.nan) if n else _NOT_MEASURED for n in numbers
            ],
            columns={0: round_lineage.Round("before", "")}
            | {
                row.round_index: round_lineage.Round(
                    f"round {row.round_index}", at.iteration(row.id)
                )
                for row in page.rounds
            },
        )

    def iteration(self, page: IterationPage, at: Addresses) -> str:
        """One round."""
        return self._page("site_iteration.html", at, page=page, row=page.row)

    def artifact(self, page: ArtifactPage, at: Addresses) -> str:
        """One artifact."""
        return self._page("site_artifact.html", at, page=page)

    def message(self, title: str, text: str, at: Addresses) -> str:
        """A page that says why there is no other."""
        return self._page("site_message.html", at, title=title, text=text)

    def bar(self, at: Addresses, round_: tuple[str, str, int, str] | None) -> str:
        """The line above a report that leads back to its round, with its own styles.

        Args:
            at: As seen from the report.
            round_: Project, robot, number and id of the round; None: the report is of none.
        """
        return self._environment.get_template("site_bar.html").render(at=at, round=round_)

    def _page(self, template: str, at: Addresses, **data: Any) -> str:  # noqa: ANN401
        return render_page(self._environment, template, style=STYLE, at=at, **data)


def longest_seconds(row: RoundRow) -> float:
    """Of a round's slowest stage."""
    return max((cost.seconds for cost in row.costs), default=0.0)


def flip_tasks(rows: Sequence[RoundRow]) -> list[str]:
    """Tasks with known flips, in the order of their first round."""
    return list(dict.fromkeys(flips.task for row in rows for flips in row.flips))


def highest_flip(rows: Sequence[RoundRow]) -> float:
    """Largest share of a task's frames whose label changed in one round."""
    return max((flips.flipped for row in rows for flips in row.flips), default=0.0)


def _environment() -> Environment:
    return page_environment(
        filters={"kind_text": lineage_graph.kind_text, "short_id": lineage_graph.short_id},
        functions={
            "families": FAMILIES,
            "disk_columns": round_plots.disk_columns,
            "flip_columns": round_plots.flip_columns,
            "flip_strip": round_plots.flip_strip,
            "flip_tasks": flip_tasks,
            "highest_flip": highest_flip,
            "label_columns": round_plots.label_columns,
            "lane_top": round_lineage.lane_top,
            "lineage_figure": lineage_graph.lineage_figure,
            "longest_seconds": longest_seconds,
            "metric_plot": round_plots.metric_plot,
            "rate_axis": success.rate_axis,
            "round_axis": round_plots.round_axis,
            "round_lineage": round_lineage.round_lineage,
            "sparkline": round_plots.sparkline,
            "success_bar": success.success_bar,
            "success_plot": round_plots.success_plot,
            "time_columns": round_plots.time_columns,
            "verdict_words": VERDICT_WORDS,
        },
    )
