"""Settings models, the catalogue of components, and the files that users register."""
