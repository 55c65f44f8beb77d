"""Drivers of real robots, one file each. A vendor's SDK is imported when a driver connects."""
