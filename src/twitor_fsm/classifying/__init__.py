"""The exceptions that are known, a module for each family; `rules.py` has them all, `..classify` decides among them."""
