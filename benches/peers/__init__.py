"""Adapters of other in-memory queues and of the floors, each at its documented best."""
