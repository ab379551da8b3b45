"""Networks as plain torch modules: named and shaped as in their authors' files, with no idea of files or devices."""
