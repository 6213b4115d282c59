"""`jaxconv bench`: how long the maps and the recurrence take beside what else there is, measured side by side."""
