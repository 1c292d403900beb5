"""Sample data written by a seeded generator, for the quickstart, the tests and the benchmarks."""
