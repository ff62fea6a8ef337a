import subprocess
import sys

import pytest

from bids_app.imaging.ants_parts import LEFT_OUT


def in_a_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_heavy_libraries_stay_out():
    code = "import sys; from bids_app.imaging.ants_parts import load_ants; ants = load_ants(); load_ants()\n"
    code += "print([m for m in ('statsmodels', 'sklearn', 'matplotlib', 'scipy.stats') if m in sys.modules], "
    code += "ants.image_read.__name__)"
    assert in_a_process(code) == "[] image_read"


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_can_be_imported_by_its_name(name):
    code = f"from bids_app.imaging.ants_parts import load_ants; load_ants(); import {name}\n"
    assert in_a_process(f"{code}import sys; print(type(sys.modules['{name}']).__name__)") == "module"


def test_a_function_that_is_left_out_says_so():
    code = "from bids_app.imaging.ants_parts import load_ants\ntry: load_ants().rank_intensity(None)\n"
    assert "import ants.math.quantile" in in_a_process(f"{code}except NotImplementedError as error: print(error)")


def test_a_package_that_is_whole_stays_whole():
    code = "import ants; from bids_app.imaging.ants_parts import load_ants; print(load_ants() is ants, ants.plot_hist)"
    assert in_a_process(code).startswith("True <function")
