"""The report page: its template, its style and its script."""
