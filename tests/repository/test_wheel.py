"""The wheel without extras, beside an application's packages and away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from support.scripted_judge import judge
from support.scripted_server import Answer, ScriptedServer

ROOT = Path(__file__).parents[2]
APPLICATION = ("fastapi", "pandas<3")
USE = """
import sys
from personalrm import DefaultJudge, SynthesizeMe, TasteModel
from personalrm.datasets import bundled
import fastapi, pandas
assert pandas.__version__ < "3"
votes, _, asked = bundled().get_user_data("amara")
model = TasteModel(model_id="m", model_url=sys.argv[1], use=["warm"]).fit(votes)
print(model.predict_pairwise(asked[0]["context"], asked[0]["chosen"], asked[0]["rejected"]))
print(DefaultJudge(model_id="m", model_url=sys.argv[1]).predict_pairwise("Hi", "a", "b"))
for wrong in ("openai/gpt-4o-mini", "embedded/smollm2-135m", "smollm2-135m"):
    try:
        DefaultJudge(model_id=wrong, num_workers=1).predict_pairwise("Hi", "a", "b")
    except Exception as error:
        print(error)
"""


def run(*command: str | Path, folder: Path) -> str:
    """What a command prints, run away from the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=kept | {"OPENAI_API_KEY": "sk-none"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.full
def test_the_core_is_enough_for_an_application(tmp_path: Path) -> None:
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--quiet", "--no-deps", "-w", tmp_path / "wheels", ROOT, folder=tmp_path)
    (wheel,) = (tmp_path / "wheels").glob("personalrm-*.whl")
    venv.create(tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    run(*pip, "--python", python, "install", "--quiet", str(wheel), *APPLICATION, folder=tmp_path)
    installed = run(*pip, "--python", python, "list", "--format=freeze", folder=tmp_path)
    assert not {"snakemake", "litellm", "torch", "matplotlib"} & {line.split("==")[0] for line in installed.split()}
    with ScriptedServer(lambda body: Answer('{"warm": 1}') if "warm" in str(body) else judge(body)) as server:
        said = run(python, "-c", USE, server.url, folder=tmp_path)
    assert "needs litellm, not installed here; pip install 'personalrm[litellm]'" in said
    assert "needs xllamacpp, not installed here; pip install 'personalrm[embedded]'" in said
    assert "did you mean 'embedded/smollm2-135m'?" in said
    command = tmp_path / "env" / "bin" / "personalrm"
    assert run(command, "--version", folder=tmp_path).startswith("personalrm ")
    assert "estimate" in run(command, "--help", folder=tmp_path)
