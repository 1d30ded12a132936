"""Files: locks, temporary folders, hashes, the fingerprint of code, and YAML written by hand.

Imports the folders above it in ARCHITECTURE.md. Read ``locks.py`` first.
"""
