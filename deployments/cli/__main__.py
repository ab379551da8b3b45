"""``python -m deployments.cli``: the same as ``stillmotion``."""

from deployments.cli.main import entry

if __name__ == "__main__":
    entry()
