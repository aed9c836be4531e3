import json
import subprocess
import sys

import pytest

from personalrm.core.lazy import Lazy


def test_a_module_is_imported_when_a_name_of_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    colours = Lazy("colorsys")
    assert "colorsys" not in sys.modules
    assert colours.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert "colorsys" in sys.modules


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = Lazy("no_such_module").anything


def test_results_are_declared_without_what_makes_them() -> None:
    code = (
        "import json, sys\n"
        "from personalrm.results.spec import declared\n"
        "from personalrm.studies.synthesizeme.run_results import PACKAGES\n"
        "assert declared(PACKAGES)\n"
        "print(json.dumps(sorted({'pandas', 'matplotlib', 'scipy'} & set(sys.modules))))"
    )
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)) == []
