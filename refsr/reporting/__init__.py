"""Tables, charts, figures and pages of an evaluation and of a curated set."""
