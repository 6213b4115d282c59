"""What was measured of the algorithms, for `choose`: `records`, times as JSON files; `wisdom`, this machine's own."""
