/* Memory for large results: taken, given back, and kept for a while. Any thread may call these
 * functions, with the GIL or without. */
#ifndef GORSQRT_POOL_H
#define GORSQRT_POOL_H

#include "object.h"

#include <stddef.h>

/* Results of at least this many bytes use the pool. For smaller ones the C heap does not ask the
 * system each time. */
enum { POOLED = 1 << 25 };

/* Takes a block of at least `bytes` bytes, aligned to 64, with arbitrary content; NULL if there is
 * no memory. The block belongs to the caller until pool_give. */
void *pool_take(size_t bytes);
void pool_give(void *memory);

/* The number of bytes in a block. */
size_t pool_size(const void *memory);

/* Asks the system for huge pages for another allocator's fresh memory, before the first write to
 * it. It has no other effect. */
void pool_prepare(void *memory, size_t bytes);

void pool_set_limit(size_t bytes);

/* Gives all kept blocks back to the system; true if there were any. */
bool pool_drop(void);

/* Functions of the module. */
PyObject *pool_empty(PyObject *module, PyObject *unused);
PyObject *pool_state(PyObject *module, PyObject *unused);

#endif
