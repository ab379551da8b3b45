"""Array functions: NumPy and Torch in, NumPy and Torch out; no Prefect, no Dask, no Zarr."""
