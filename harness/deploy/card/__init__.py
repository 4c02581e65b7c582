"""Model card of a bundle, `MODEL_CARD.md`: facts that a reader of the network needs."""
