"""What PyInstaller can't see: the modules that the library imports by name, each at the first array that needs it.

None brings its arrays' own package along: an application that uses it has it.
"""

hiddenimports = [f"gorsqrt.{name}" for name in ("_torch_door", "array_api", "cupy", "jax", "torch", "torch._calls")]
hiddenimports += [f"gorsqrt.torch.{name}" for name in ("_decompositions", "_dtensor", "_dynamo", "_inductor", "_tracers")]  # _watch.HOOKS
excludedimports = ["cupy", "jax", "numpy", "torch"]
