"""What the benchmarks of serving have in common: bundles, a cluster, applications to compare with, load."""
