"""The wild suite runs by itself: `bash tests/check/wild/run.sh`. Its packages are not among ours."""

collect_ignore_glob = ["*.py"]
