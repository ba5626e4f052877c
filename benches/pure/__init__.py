"""The yardstick: what a good pure-Python implementation of a job's life costs. `store.py` says how far it goes."""

from .job import Job, JobLock
from .states import JobState
from .store import PureStore

__all__ = ["Job", "JobLock", "JobState", "PureStore"]
