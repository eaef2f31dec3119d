/* How many threads may work on one call, and where that number comes from. */
#ifndef GORSQRT_THREADS_H
#define GORSQRT_THREADS_H

#include "object.h"

/* Names the source of the number: a string that C keeps. */
void threads_come_from(const char *source);

/* Sets the number for the user. The workers belong to the original library in a forked child
 * too. */
void threads_set(int threads);

/* In a worker process of torch's DataLoader: takes torch's own number. 0, or -1 with an exception
 * set. */
int threads_ask_torch(void);

/* Functions of the module: the number of threads, and its source. */
PyObject *threads_number(PyObject *module, PyObject *unused);
PyObject *threads_source(PyObject *module, PyObject *unused);

#endif
