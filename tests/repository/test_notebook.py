"""The example notebook runs as it stands, in a kernel with its running event loop, and is kept with its outputs."""

from __future__ import annotations

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "personal_judge.ipynb"


@pytest.mark.embedded
def test_the_notebook_runs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    # A cell that fails raises here.
    NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "strongly prefers answers with lists" in printed
    assert "with the profile:" in printed
    assert "without any profile:" in printed


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
