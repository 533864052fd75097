"""The bundled trace: a small CNN on real test images of handwritten digits."""
