"""Streams that do not wait: the newest frame wins, and the picture goes on whatever the model does."""
