"""Use of a study's networks on new images: prediction, export, app."""
