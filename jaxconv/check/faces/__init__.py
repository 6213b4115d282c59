"""What comes out of a check: report, page, picture, the command, a helper for tests, the smallest failing case."""
