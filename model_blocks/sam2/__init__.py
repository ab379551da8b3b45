"""Segment Anything 2.1: finds what a point or a box means in a picture, and follows it through a shot.

Source: Ravi, Gabeur, Hu et al. 2024, SAM 2: Segment Anything in Images and Videos. The networks are those of
``transformers``; names of weights, preparation, prompts and memory follow the authors' published procedure.
"""
