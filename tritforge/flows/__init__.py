"""What each command does, as functions.

Arguments that name something (a model, a configuration, an image, an array) may be given as what
they name: an ``nn.Module``, a ``Config``, an ``Image``, a NumPy array.
"""
