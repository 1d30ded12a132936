"""Files: locks, temporary folders, hashes and YAML written by hand.

Every folder may import from here; nothing here imports from another folder. Read ``locks.py`` first.
"""
