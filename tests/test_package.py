"""What the package promises as a whole: light to import, one version of everything, figures that agree."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from lock import PYTHON, pins

import interp_helpers

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_importing_is_fast_and_brings_nothing_along():
    code = (
        "import sys, time, warnings; before = set(sys.modules), list(warnings.filters); t = time.process_time()\n"
        "import interp_helpers; seconds = time.process_time() - t\n"
        "heavy = {'torch', 'transformers', 'matplotlib', 'pandas', 'numpy'} & set(sys.modules)\n"
        "assert warnings.filters == before[1]; print(seconds, *heavy)"
    )
    seconds = []
    for _ in range(5):
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        taken, *heavy = ran.stdout.split()
        assert heavy == []
        seconds.append(float(taken))
    assert min(seconds) < 0.1  # too little to notice


def test_every_public_name_is_there_and_documented():
    for name in interp_helpers.__all__:
        thing = getattr(interp_helpers, name)
        assert name == "__version__" or thing.__doc__, name
    assert set(interp_helpers.__all__) <= set(dir(interp_helpers))
    modules = {path.stem for path in Path(interp_helpers.__file__).parent.glob("*.py")}
    assert modules - {"__init__", "__main__"} <= set(interp_helpers.__all__), "a name would depend on what is loaded"
    with pytest.raises(AttributeError, match="attribute lode_model"):
        _ = interp_helpers.lode_model


def direct():
    """Names of everything that pyproject.toml asks for itself, for the notebooks and their tests."""
    extras = PROJECT["optional-dependencies"]
    return {re.split(r"[<>=; ]", each)[0] for each in PROJECT["dependencies"] + extras["lab"] + extras["test"]}


def test_lock_environment_and_binder_agree():
    locked = pins((ROOT / "requirements.lock").read_text(encoding="utf-8"), PYTHON)
    assert not [name for name in locked if name.startswith(("nvidia", "triton"))]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    listed = dict(each.split("==") for each in environment[-1]["pip"] if "==" in each)
    assert listed.keys() == direct() - {"tomli"}  # tomli: Python 3.10 only
    assert {name: locked[name] for name in listed} == listed
    assert f"python={PYTHON}" in environment
    binder = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8")
    assert pins(binder, PYTHON).items() < locked.items()  # without tests and site: a small image
    assert direct() - pins(binder, PYTHON).keys() == {"pytest", "pytest-xdist", "nbval", "hypothesis", "ruff", "tomli"}
    assert (ROOT / "binder" / "runtime.txt").read_text() == f"python-{PYTHON}\n"


def test_students_do_not_get_what_only_a_teacher_needs():
    student, teacher = (
        pins((ROOT / lock).read_text(encoding="utf-8"), PYTHON)
        for lock in ("requirements.lock", "dev/classroom/requirements.lock")
    )
    asked = re.split("[<>=; ]", PROJECT["optional-dependencies"]["grading"][0])[0]
    assert asked in teacher
    assert not student.keys() & teacher.keys()


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the lock's versions differ by Python")
def test_what_is_installed_is_what_the_lock_says():
    locked = pins((ROOT / "requirements.lock").read_text(encoding="utf-8"), PYTHON)
    assert {name: version(name).split("+")[0] for name in direct() - {"tomli"}} == {
        name: locked[name] for name in direct() - {"tomli"}
    }


def test_published_figures_agree_with_themselves():
    neo = interp_helpers.published_figures("EleutherAI/gpt-neo-125M")
    assert neo["config"]["parameters"] == 125_198_592
    assert neo["layer0_attention"]["mean"] == pytest.approx(1 / neo["prompt_tokens"], abs=1e-6)
    assert interp_helpers.prompt_for("EleutherAI/gpt-neo-125M") == neo["prompt"]
    assert interp_helpers.prompt_for("gpt2") == interp_helpers.published_figures("gpt2")["prompt"]
    assert interp_helpers.published_figures("storybook") == {}
