"""Frames in, masks out: videos, folders, cameras, label maps, overlays and logs."""
