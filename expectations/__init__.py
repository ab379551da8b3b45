"""Guardrails: what must hold before and after a stage."""
