"""NVML without a GPU, see README.md beside this file."""
