"""Eight devices on this machine: the tests of devices_*.py, each file in a process that JAX gives eight CPU devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from many_devices import on_eight_devices

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("devices_*.py"))


@pytest.mark.short("blocks|check")
@pytest.mark.parametrize("file", FILES)
def test_on_eight_devices(file: str) -> None:
    run = on_eight_devices(["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "", file])
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
