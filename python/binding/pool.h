/* Memory of large results: taken, given back, and kept for a while. Any thread may take and give,
 * with the GIL or without. */
#ifndef GORSQRT_POOL_H
#define GORSQRT_POOL_H

#include "object.h"

#include <stddef.h>

/* Results of so many bytes and more come from the pool. Below, the C heap does not go to the system
 * each time. */
enum { POOLED = 1 << 25 };

/* A block of at least `bytes` bytes, aligned to 64, of any content; NULL if there is no memory. It
 * belongs to its taker until it is given back. */
void *pool_take(size_t bytes);
void pool_give(void *memory);

/* How many bytes a block has. */
size_t pool_size(const void *memory);

/* Asks for huge pages for fresh memory of another allocator, which nobody has written to. It has no
 * other effect. */
void pool_prepare(void *memory, size_t bytes);

void pool_set_limit(size_t bytes);

/* Gives back all that is kept; whether there was any. */
bool pool_drop(void);

/* Functions of the module. */
PyObject *pool_empty(PyObject *module, PyObject *unused);
PyObject *pool_state(PyObject *module, PyObject *unused);

#endif
