"""How good a model is: metrics, the protocol of arms, and the report."""
