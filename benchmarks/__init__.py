"""Benchmarks: the product's own path, side by side with its peers, on generated streams with an exact oracle.

Start with `python -m benchmarks --help`; the figures and what they mean are in docs/benchmarks.md.
"""
