"""The labs' one import gathers everything it promises and defines nothing itself."""

from types import ModuleType

from scripts import mech_interp_utils


def test_all_names_what_is_there():
    public = {
        name for name, value in vars(mech_interp_utils).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }  # fmt: skip
    assert sorted(public) == mech_interp_utils.__all__


def test_nothing_is_defined_here():
    for name in mech_interp_utils.__all__:
        assert getattr(getattr(mech_interp_utils, name), "__module__", "") != mech_interp_utils.__name__
