"""Files, paths, records, errors and text: what every other folder builds on; imports none of
them.
"""
