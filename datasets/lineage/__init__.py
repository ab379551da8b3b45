"""Lineage: where every published file came from, kept beside it and in the ledger, and told to others as events."""
