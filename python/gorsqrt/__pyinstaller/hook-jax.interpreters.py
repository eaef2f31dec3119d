"""For PyInstaller: modules of jax that gorsqrt.jax needs and an application with jax may lack."""

from PyInstaller.utils.hooks import collect_data_files  # type: ignore[import-untyped]

hiddenimports = ["jax.extend.core", "jax.extend.mlir.ir"]
datas = collect_data_files("jaxlib", includes=["include/xla/ffi/api/c_api.h"])
