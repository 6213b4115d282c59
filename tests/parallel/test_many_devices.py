"""Eight devices on this machine: the tests of devices_*.py, each file in a process that JAX gives eight CPU devices."""

from __future__ import annotations

from pathlib import Path

import pytest

from many_devices import on_eight_devices

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("devices_*.py"))
SHORT = [file for file in FILES if "blocks" in file or "check" in file]  # of these some tests are in the short part


def run(file: str, which: str) -> None:
    done = on_eight_devices(["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", which, file])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


@pytest.mark.parametrize("file", SHORT)
def test_the_short_part(file: str) -> None:
    run(file, "not slow")


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_the_rest(file: str) -> None:
    run(file, "slow" if file in SHORT else "")
