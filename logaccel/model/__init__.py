"""Trained networks: a graph with its parameters, imported from other tools' files; float reference and capture."""

from logaccel.model.model import Model

__all__ = ["Model"]
