"""What gorsqrt.jax needs of jax that an application which uses jax may not have."""

from PyInstaller.utils.hooks import collect_data_files  # type: ignore[import-untyped]

hiddenimports = ["jax.extend.core", "jax.extend.mlir.ir"]
datas = collect_data_files("jaxlib", includes=["include/xla/ffi/api/c_api.h"])
