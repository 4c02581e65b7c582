"""What came of a study: tables, figures, example predictions, and one page with all of them."""
