"""A small photo and a portrait in, a sharp face out."""
