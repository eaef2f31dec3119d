"""For PyInstaller: the modules that the C code imports by name, which PyInstaller can't see.

Each is imported for the first array that needs it. None brings the package of these arrays along:
an application that uses it has it.
"""

names = ["_torch_door", "array_api", "cupy", "jax", "numpy", "torch"]
names += [f"torch.{name}" for name in ("_calls", "_decompositions", "_dtensor", "_dynamo", "_inductor", "_tracers")]
hiddenimports = [f"gorsqrt.{name}" for name in names]
excludedimports = ["cupy", "jax", "numpy", "torch"]
