"""Layers and networks: shapes, no tensors."""

from logaccel.workload.layer import Layer, MatrixShape
from logaccel.workload.network import Network, load_network, network_of, shipped_networks

__all__ = ["Layer", "MatrixShape", "Network", "load_network", "network_of", "shipped_networks"]
