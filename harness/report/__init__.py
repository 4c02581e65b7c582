"""Report of a study: tables, figures, sample predictions, and one page with all of them."""
