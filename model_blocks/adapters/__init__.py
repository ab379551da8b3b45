"""Adapters to paid outside services: what each declares, one careful way to call it, its form of speech."""
