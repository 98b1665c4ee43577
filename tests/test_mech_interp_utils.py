"""The labs' one import gathers everything it promises and defines nothing itself."""

from types import ModuleType

from scripts import mech_interp_utils
from scripts.course.cells import read_setup
from scripts.interp.base.paths import ROOT


def test_all_names_what_is_there():
    for name in mech_interp_utils.__all__:
        assert not isinstance(getattr(mech_interp_utils, name), ModuleType), name
    assert len(mech_interp_utils.__all__) > 100


def test_nothing_is_defined_here():
    for name in mech_interp_utils.__all__:
        assert getattr(getattr(mech_interp_utils, name), "__module__", "") != mech_interp_utils.__name__


def test_labs_import_nothing_deeper():
    for path in sorted((ROOT / "solutions").glob("*.ipynb")):
        assert "scripts.interp" not in read_setup(path), path.name
