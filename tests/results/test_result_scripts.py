"""The scripts of the cheap rules: from verdict files to figure, imported and under Snakemake's `script:`."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

from generated_verdicts import quickstart_cells, write_cells

WORKFLOW = Path(__file__).resolve().parents[2] / "workflow"

SNAKEFILE = """
SCRIPTS = "{scripts}"
rule all:
    input: "out/main.pdf", "out/main.md"
rule collect:
    input: verdicts={verdicts}
    output: verdicts="out/verdicts.parquet", calls="out/calls.parquet"
    script: SCRIPTS + "/collect_scores.py"
rule table:
    input: verdicts="out/verdicts.parquet", calls="out/calls.parquet"
    params: seed=1, n_resamples=99
    output: csv="out/main.csv", md="out/main.md", tex="out/main.tex", html="out/main.html"
    script: SCRIPTS + "/table_main.py"
rule figure:
    input: csv="out/main.csv"
    params: title_note="synthetic"
    output: pdf="out/main.pdf", svg="out/main.svg", png="out/main.png", caption="out/caption.txt"
    script: SCRIPTS + "/figure_main.py"
"""


def script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, WORKFLOW / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Named(dict[str, object]):
    """Stands in for Snakemake's named lists."""

    def __getattr__(self, name: str) -> object:
        return self[name]


def job(inputs: dict[str, object], output: dict[str, object], params: dict[str, object]) -> SimpleNamespace:
    return SimpleNamespace(input=Named(inputs), output=Named(output), params=Named(params))


def run_imported(folder: Path, verdicts: list[Path]) -> None:
    """Collect, table and figure through the imported scripts."""
    frames: dict[str, object] = {name: str(folder / f"{name}.parquet") for name in ("verdicts", "calls")}
    csv, pdf = str(folder / "main.csv"), str(folder / "main.pdf")
    script("collect_scores").main(job({"verdicts": [str(path) for path in verdicts]}, frames, {}))
    script("table_main").main(job(frames, {"csv": csv}, {"seed": 1, "n_resamples": 99}))
    figure = {"pdf": pdf, "caption": str(folder / "caption.txt")}
    script("figure_main").main(job({"csv": csv}, dict(figure), {"title_note": "synthetic"}))


def test_scripts_give_the_same_bytes_imported_and_under_snakemake(tmp_path: Path) -> None:
    verdicts = write_cells(tmp_path / "verdicts", quickstart_cells(), [2, 3])
    alone = tmp_path / "alone"
    run_imported(alone, verdicts)
    (tmp_path / "Snakefile").write_text(
        SNAKEFILE.format(scripts=WORKFLOW / "scripts", verdicts=[str(path) for path in verdicts]),
        encoding="utf-8",
    )
    subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "-d", str(tmp_path), "-s", "Snakefile"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(WORKFLOW)},
        check=True,
        timeout=120,
    )
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == sorted(path.name for path in alone.iterdir())
    assert len(made) == 10
    for name in made:
        assert (alone / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name


def test_figure_needs_the_published_table_alone(tmp_path: Path) -> None:
    run_imported(tmp_path, write_cells(tmp_path / "verdicts", quickstart_cells(), [2, 3]))
    before = (tmp_path / "main.png").read_bytes()
    published = tmp_path / "elsewhere"
    published.mkdir()
    (published / "main.csv").write_bytes((tmp_path / "main.csv").read_bytes())
    output: dict[str, object] = {"pdf": str(published / "main.pdf")}
    params: dict[str, object] = {"title_note": "synthetic"}
    script("figure_main").main(job({"csv": str(published / "main.csv")}, output, params))
    assert (published / "main.png").read_bytes() == before
