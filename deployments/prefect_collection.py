"""What Prefect imports of this package by itself: its server when it starts, and whoever looks for kinds of blocks.

A server that is started with ``prefect server start`` where this package is installed makes scheduled runs by it.
"""

import sys

from deployments.scheduler_repair import let_schedules_fire

if "prefect.server.database.orm_models" in sys.modules:  # only a server has it; nobody else is to load it
    let_schedules_fire()
