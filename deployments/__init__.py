"""The ways in: command line, server, webhook and schedules."""
