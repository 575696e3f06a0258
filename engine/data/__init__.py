"""Rows of feature files as a learner may see them: pools, splits, views, episodes, tasks."""
