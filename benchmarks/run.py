"""Measure ratios against plain MONAI and PyTorch, alternating and in one run, and write BENCHMARKS.md."""
