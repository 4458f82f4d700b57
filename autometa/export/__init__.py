"""Programs that run without this package: an adapted classifier, or the adaptation itself, for PyTorch or as ONNX.

`autometa.export` is this package and, called, the word of the command line: `autometa.export(run, out="birds.onnx")`.
"""
