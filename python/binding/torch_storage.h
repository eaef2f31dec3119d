/* The memory of torch's large results. */
#ifndef GORSQRT_TORCH_STORAGE_H
#define GORSQRT_TORCH_STORAGE_H

#include "object.h"

/* Gives a fresh tensor in the CPU's memory, whose TensorImpl and first element nobody else knows, a
 * block of the pool instead of torch's memory if it is large: *data is the first element
 * afterwards. 0, or -1 with an exception set. */
int torch_pool(void *impl, void **data);

/* Adds the functions that gorsqrt/_torch_door.py calls. */
int torch_storage_install(PyObject *module);

#endif
