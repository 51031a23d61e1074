"""Bytes on a disk: who owns an output, who is writing it, and how it is put in place."""
