"""One file per workflow, and the recipes they run. No pixels."""

import os

# Prefect's server would tell its makers that it runs, also one that a notebook's run starts for itself.
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("DO_NOT_TRACK", "1")
