"""Benchmarks of ferroq; README.md says what each one shows and how to read it."""
