"""What PyInstaller can't see: the modules that the library imports by name, each at the first array
that needs it.

None brings its arrays' own package along: an application that uses it has it.
"""

names = ["_torch_door", "array_api", "cupy", "jax", "torch"]
names += [f"torch.{name}" for name in ("_calls", "_decompositions", "_dtensor", "_dynamo", "_inductor", "_tracers")]
hiddenimports = [f"gorsqrt.{name}" for name in names]
excludedimports = ["cupy", "jax", "numpy", "torch"]
