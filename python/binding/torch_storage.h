/* The memory of torch's large results. */
#ifndef GORSQRT_TORCH_STORAGE_H
#define GORSQRT_TORCH_STORAGE_H

#include "object.h"

/* If a fresh CPU tensor is large, replaces torch's memory by a block of the pool: *data is the
 * first element afterwards. No other code may know the tensor's TensorImpl or first element yet. 0,
 * or -1 with an exception set. */
int torch_pool(void *impl, void **data);

/* Adds the functions that gorsqrt/_torch_door.py calls. */
int torch_storage_install(PyObject *module);

#endif
