/* Starts Go's runtime, and names limits of the process that may prevent it. */
#ifndef GORSQRT_START_H
#define GORSQRT_START_H

#include <stdbool.h>
#include <stddef.h>

/* Starts this library's Go, once. False if the system has too little of a resource that Go needs:
 * `why`, of `size` bytes, names the resource. */
bool start_go(char *why, size_t size);

/* Whether there is memory for the calling thread's first call into Go. Always true for its later
 * calls. */
bool start_may_enter(void);

/* Appends the process's limits of these kinds to a text in `size` bytes, such as " (RLIMIT_AS is
 * 800 MiB)". */
enum { OF_MEMORY = 1, OF_THREADS = 2, OF_FILES = 4 };
void append_limits(char *text, size_t size, int kinds);

#endif
