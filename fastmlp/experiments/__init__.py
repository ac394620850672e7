"""Scripted experiments: a file of settings in, a folder of results out.

It knows nothing of the terminal: `fastmlp.cli` does.
"""
