"""A detector watches the tracker: it says what to follow, when to stop, and when to look again."""
