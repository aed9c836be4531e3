"""The example notebook runs as it stands, in a kernel with its running event loop, and is kept with its outputs."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "personal_judge.ipynb"


NEEDS_QWEN = ("taste", "chen")
"""What stands in cells that use the model of half a gigabyte."""


def printed(*, small: bool) -> str:
    """What the notebook prints; `small` leaves out cells that need more than the smallest model. A cell that fails
    raises here."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells = [
        cell for cell in notebook.cells if not (small and any(name in cell.source for name in NEEDS_QWEN))
    ]
    NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))


@pytest.mark.embedded
def test_the_notebook_runs_on_the_smallest_model() -> None:
    said = printed(small=True)
    assert "with the profile:" in said
    assert "without any profile:" in said


@pytest.mark.full
@pytest.mark.embedded
def test_the_notebook_runs() -> None:
    assert "strongly prefers answers with lists" in printed(small=False)


def test_a_reader_sees_the_outputs_and_nothing_of_a_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    assert len(text) < 20_000
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert any(cell.get("outputs") for cell in cells)
    for cell in cells:
        for output in cell.get("outputs", ()):
            assert output["output_type"] in ("stream", "execute_result")
            assert output.get("name") != "stderr", output
