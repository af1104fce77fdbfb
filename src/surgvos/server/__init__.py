"""Pages in a browser: label a video, and watch a stream."""
