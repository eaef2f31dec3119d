/* Carrying out a plan on the CPU. The caller holds the memory at dst and src. Both functions answer
 * 0, or -1 with an exception set. */
#ifndef GORSQRT_RUN_H
#define GORSQRT_RUN_H

#include "go.h"

int run(const gorsqrt_plan *plan, void *dst, const void *src);

/* n contiguous items of one dtype, disjoint or identical, without a plan of Go's. */
int run_plain(int32_t dtype, int64_t n, void *dst, const void *src);

#endif
