/* The beginning of Go's runtime, and the limits of the process that may stand in its way. */
#ifndef GORSQRT_START_H
#define GORSQRT_START_H

#include <stdbool.h>
#include <stddef.h>

/* Begins this library's Go, once. False if the system has too little of what Go needs: `why`, of
 * `size` bytes, says of what. */
bool start_go(char *why, size_t size);

/* Whether there is memory for the calling thread's first call into Go; true for later calls. */
bool start_may_enter(void);

/* Appends " (RLIMIT_AS is 800 MiB)" and the like to a text in `size` bytes: the limits of these
 * kinds that this process has. */
enum { OF_MEMORY = 1, OF_THREADS = 2, OF_FILES = 4 };
void append_limits(char *text, size_t size, int kinds);

#endif
