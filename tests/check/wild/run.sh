#!/usr/bin/env bash
# check_vjp on the custom rules of twelve public packages, each judged here by other means: see judge.py.
#
#   bash tests/check/wild/run.sh [NAME ...]      all cases, or those whose names hold one of the words
#
# The packages are pinned in requirements.txt and go into a temporary environment; WILD_PYTHON names an interpreter that
# has them already. Needs python3 (3.12 or later) with venv, and pip. Exit status 1 where a verdict is false.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
python=${WILD_PYTHON:-}
if [ -z "$python" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    python3 -m venv "$work/venv"
    python="$work/venv/bin/python"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi
cd "$here"
PYTHONPATH="$root" JAX_PLATFORMS=cpu "$python" judge.py "$@"
