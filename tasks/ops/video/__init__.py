"""Array functions on clips: reading, colour, writing. No Prefect, no Dask."""
