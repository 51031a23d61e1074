"""Bytes: decoders, and files and folders that are replaced whole."""
