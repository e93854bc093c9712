"""From a study and interactions to a pair: model, guide, objective and batches."""
