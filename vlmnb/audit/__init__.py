"""Checks over records: rules that yield findings, the command that tells them, the pages that show them."""
