"""Checks that compare devices with each other and with the sun."""
