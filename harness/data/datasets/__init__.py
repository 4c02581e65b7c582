"""Find images and masks: folder layouts, CSV files, known and generated datasets."""
