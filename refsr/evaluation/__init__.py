"""How good a model is: metrics, the protocol of conditions, and their statistics."""
