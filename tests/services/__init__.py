"""Outside services that tests need, real ones on loopback."""
