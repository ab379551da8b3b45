"""The one guarded way by which pictures are fetched by URL."""
