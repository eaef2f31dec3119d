/* The number of threads that may work on one call, and the source of that number. */
#ifndef GORSQRT_THREADS_H
#define GORSQRT_THREADS_H

#include "object.h"

/* Names the source of the number; C keeps the string. */
void threads_come_from(const char *source);

/* Sets the number at the user's request. In a forked child too the workers are the original
 * library's. */
void threads_set(int threads);

/* In a worker process of torch's DataLoader: takes torch's own number. 0, or -1 with an exception
 * set. */
int threads_ask_torch(void);

/* Functions of the module: the number of threads, and its source. */
PyObject *threads_number(PyObject *module, PyObject *unused);
PyObject *threads_source(PyObject *module, PyObject *unused);

#endif
