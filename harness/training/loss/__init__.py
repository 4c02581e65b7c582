"""Losses, class weights and the checks of a loss."""
