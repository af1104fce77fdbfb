"""`surgvos label`: annotate and correct a video in the browser."""
