# Unit tests, end-to-end tests, lint, benchmark.
