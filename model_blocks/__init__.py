"""The models: a table of facts, blocks that choose one, and the runtime that keeps it loaded."""
