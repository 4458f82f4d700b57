"""Tables of small cells, each trained: building them, packing them, asking them."""
