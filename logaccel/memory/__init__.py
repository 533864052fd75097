"""Scratchpads, DRAM and the tiles between them: what a layer waits for."""
