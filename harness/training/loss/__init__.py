"""Training loss: built-in losses, their weighted sum, class weights and checks."""
