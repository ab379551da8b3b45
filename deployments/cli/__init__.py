"""The command line: ``stillmotion``."""
