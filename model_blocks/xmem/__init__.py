"""XMem (Cheng, Schwing 2022): follows objects through clips of any length with a memory that stays bounded."""
