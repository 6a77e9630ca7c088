"""What the domain needs from outside. The docstrings are the contract, errors included."""
