"""A network and its learning as C99, for devices without Python, network or allocation."""
