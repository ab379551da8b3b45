"""One file per stage, the chunk engine they share, and pure array functions in ``ops``."""
