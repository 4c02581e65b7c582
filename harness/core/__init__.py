"""Files, paths, records, errors and text. Every other folder uses this one; it imports no other."""
