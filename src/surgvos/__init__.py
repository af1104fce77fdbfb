"""SurgVOS: segment and track anything in surgical video."""
