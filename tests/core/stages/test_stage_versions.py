"""Code that changes a stage's results must change its version, or say here why it does not.

A stage key holds the stage's version, not its code. So a hash of everything a stage runs (the
syntax trees of the modules it imports, without docstrings and comments, and the data files it
reads) is recorded here. When it changes, this test fails until the version in
``recap_core/stages/registry.py`` is raised, or the new hash is recorded with a reason why results
stay the same.
"""

import ast
import hashlib
from pathlib import Path
from typing import NamedTuple

import grimp
import pytest

import recap_core
from recap_core.stages.registry import STAGES

PACKAGE = Path(recap_core.__file__).parent

MODULES = {
    "collect": "collect",
    "annotate": "annotate",
    "ingest": "ingest",
    "convert": "convert",
    "merge": "merge",
    "norm_stats": "norm_stats",
    "load_norm_stats": "norm_stats",
    "train_policy": "train_policy",
    "align_value": "align_value",
    "train_value": "train_value",
    "infer_values": "infer_values",
    "label": "label",
    "copy": "copy_dataset",
    "relabel": "relabel",
    "evaluate": "evaluate",
    "check_policy": "check_policy",
    "score_recording": "score_recording",
    "record_evaluation": "record_evaluation",
    "report": "report",
    "record_iteration": "record_iteration",
    "import_labels": "import_labels",
    "import_dataset": "import_dataset",
    "import_policy": "import_policy",
    "import_value": "import_value",
}

NO_RESULTS = (
    "recap_core.errors",
    "recap_core.progress",
    "recap_core.arrays",
    "recap_core.lineage",
    "recap_core.config.gate",
    "recap_core.config.iteration",
    "recap_core.config.presets",
    "recap_core.config.embodiments",
    "recap_core.config.sizes",
    "recap_core.config.environment",
    "recap_core.stages.registry",
)
"""Modules that decide nothing about a stage's content: messages, bars, storage, named settings."""

DATA_FILES = {
    "recap_core.models.tokenizer": ("models/tiny_tokenizer/model.spm",),
    "recap_core.reports.page": (
        "reports/templates/base.html",
        "reports/templates/macros.html",
        "reports/templates/page.css",
    ),
    "recap_core.reports.iteration": (
        "reports/templates/report.html",
        "reports/templates/audit_section.html",
        "reports/templates/change_section.html",
        "reports/templates/offline_section.html",
        "reports/templates/health_section.html",
        "reports/templates/training_section.html",
    ),
}


class Recorded(NamedTuple):
    """What a stage's code was when its version was last looked at."""

    version: int
    sources: str
    reason: str


FIRST = "first version"
STRICTER = "bounded memory, more checks, shared code: the same results from sound data"

KERNEL = "cuDNN's attention where there is an NVIDIA GPU; on a CPU the same bits"
JUDGED = "an episode merged twice is judged once, in one order"
VALUES = "images are scaled on the device, and frozen tokens are read where they are kept"
RULES = "rules as data: pools by source, quantiles, discounts"
SIDECAR = "values and advantages lie beside the labels"
PAGES = "intervals are the gate's; numbers for other pages lie beside the page"
DRAWN = "what pages show has changed, not what is computed"
CACHED = "compiled programs may lie elsewhere: the same programs"
LIVE = "videos of any height and width, sessions that are still open: the same results"
LOCKED = "one job per device, and files read without pandas: the same results"
EARLY = "what was stopped early has a metric that says so: the same episodes and numbers"

RECORDED: dict[str, Recorded] = {
    "collect": Recorded(2, "5d40eef7a4dceecd", LIVE),
    "annotate": Recorded(1, "2aeafa884bda408e", LIVE),
    "ingest": Recorded(1, "e3ff6b6423539faa", LIVE),
    "convert": Recorded(2, "7c889646c96a7e47", LIVE),
    "merge": Recorded(2, "ad663a6363e9e6d5", LIVE),
    "norm_stats": Recorded(1, "aaec07d7ea23c2b8", STRICTER),
    "load_norm_stats": Recorded(1, "aaec07d7ea23c2b8", STRICTER),
    "train_policy": Recorded(2, "ae734ba7efede62f", CACHED),
    "align_value": Recorded(1, "743a0294837f64dc", CACHED),
    "train_value": Recorded(3, "56e1bb8dcfe8a2ea", CACHED),
    "infer_values": Recorded(3, "f39ccd036b879464", CACHED),
    "label": Recorded(2, "9187041d7411285e", RULES),
    "copy": Recorded(1, "f8e9b39c134c25f3", FIRST),
    "relabel": Recorded(3, "5ebe5cb2a43cbeb9", SIDECAR),
    "evaluate": Recorded(2, "c1707104eefef715", EARLY),
    "report": Recorded(4, "609958d1552d50a2", DRAWN),
    "record_iteration": Recorded(1, "4d426f74b880818f", FIRST),
    "check_policy": Recorded(1, "305e9711d8b8ed43", CACHED),
    "score_recording": Recorded(2, "51baf8e9bb3393b6", EARLY),
    "record_evaluation": Recorded(1, "cdb82080506592a3", FIRST),
    "import_labels": Recorded(1, "31b6ee7512204ad7", STRICTER),
    "import_dataset": Recorded(1, "5f6b7998c98cd7a3", STRICTER),
    "import_policy": Recorded(1, "aeebdf8dd849d5f9", STRICTER),
    "import_value": Recorded(1, "c41f83aa886d2441", FIRST),
}


def _is_relevant(module: str, stage: str) -> bool:
    if module.startswith(NO_RESULTS):
        return False
    # A report draws what other stages computed, and computes differences of success rates.
    drawn = ("recap_core.reports", "recap_core.stages.rep", "recap_core.evaluation.paired")
    return stage != "report" or module.startswith(drawn)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # pyright: ignore[reportAttributeAccessIssue] - every such node has one
                part
                for part in body
                if not (
                    isinstance(part, ast.Expr)
                    and isinstance(part.value, ast.Constant)
                    and isinstance(part.value.value, str)
                )
            ]
    return tree


def _module_path(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def sources_digest(graph: grimp.ImportGraph, stage: str) -> str:
    """Hash of the code and data behind a stage."""
    root = f"recap_core.stages.{MODULES[stage]}"
    modules = sorted({root, *graph.find_upstream_modules(root)})
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        if not _is_relevant(module, stage):
            continue
        tree = _without_docstrings(ast.parse(_module_path(module).read_text()))
        digest.update(f"{module}\n{ast.dump(tree)}\n".encode())
        for file in DATA_FILES.get(module, ()):
            digest.update((PACKAGE / file).read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("recap_core", cache_dir=None)


def test_every_stage_is_covered() -> None:
    """A new stage has to be listed here."""
    assert set(MODULES) == set(STAGES) == set(RECORDED)


@pytest.mark.parametrize("stage", sorted(MODULES))
def test_a_stage_that_changed_has_another_version(stage: str, graph: grimp.ImportGraph) -> None:
    """Code and version change together, or the recorded reason says why not."""
    found, recorded = sources_digest(graph, stage), RECORDED[stage]

    assert (STAGES[stage].version, found) == (recorded.version, recorded.sources), (
        f"the code behind stage {stage!r} changed (now {found}). If its results can change, raise "
        "its version in recap_core/stages/registry.py. Then record version, hash and reason here."
    )
