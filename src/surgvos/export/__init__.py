"""Masks of a video in the formats of other tools: written, and read back. One file per format."""
