"""The facts of all models, a module per family."""
