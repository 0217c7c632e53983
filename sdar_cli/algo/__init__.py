"""The method itself: tensors in, tensors out.  No trainer, no configuration files, no input or output."""
