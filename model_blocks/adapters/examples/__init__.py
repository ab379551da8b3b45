"""Adapters to begin one's own with: a command and a server."""
