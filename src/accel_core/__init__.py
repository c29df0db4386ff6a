"""Kernels: bytes in, indexes and bytes out. Knows layers, not images."""
