"""What a person meets in a terminal: text, tables, progress, ctrl-C."""
