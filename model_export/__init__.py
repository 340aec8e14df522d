"""From a trained PyTorch network to an image."""
