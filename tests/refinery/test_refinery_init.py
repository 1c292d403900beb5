import subprocess
import sys

import pytest

from jenga import refinery


def test_every_public_name_is_there_and_nothing_else() -> None:
    assert len(refinery.__all__) > 10
    assert [name for name in refinery.__all__ if getattr(refinery, name, None) is None] == []
    assert dir(refinery) == sorted(refinery.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Refinery'"):
        _ = refinery.Refinery


def test_schemas_are_read_without_torch_and_scikit_learn() -> None:
    code = "import sys, jenga.refinery as r; r.load_preset('zeek'); print(*{'torch', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
