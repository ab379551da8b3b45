"""Settings, errors, identity, assets, frame stores and the ledger."""
