"""Bytes: decoders, who owns an output, who writes it, and how it is put in place."""
