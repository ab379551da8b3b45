"""Models that need no weights: classical vision, good enough to do the job on a plain laptop."""
