"""Certificates and join tokens: who a node is, and how it came to be let in.

Used by ``runtime`` and ``manager.ca``; imports the model and the errors only.
"""
