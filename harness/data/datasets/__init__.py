"""Finding images and masks: folder layouts, CSV files, known datasets, generated ones."""
