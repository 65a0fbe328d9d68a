"""Speed of the library beside that of others: one module per table, run by `benchmarks.run`."""
