"""Fuzz the readers: whatever the damage, a file is read or a RefsrError says why not."""
