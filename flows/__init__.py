"""One file per workflow, and the recipes they run. No pixels."""
