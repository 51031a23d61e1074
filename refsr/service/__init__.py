"""The service: a photo and references by HTTP in, the enlarged photo out."""
