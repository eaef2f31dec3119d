/* Carries out plans on the CPU. The caller keeps the memory at dst and src in place until the
 * function returns. Both functions answer 0, or -1 with an exception set. */
#ifndef GORSQRT_RUN_H
#define GORSQRT_RUN_H

#include "go.h"

int run(const gorsqrt_plan *plan, void *dst, const void *src);

/* The same for a caller that may have given up the GIL, as numpy has in a loop: it finds an
 * exception by itself. */
void run_in_loop(const gorsqrt_plan *plan, void *dst, const void *src);

/* 1/√src of n contiguous items of one dtype, without a plan by Go. dst and src are disjoint or the
 * same. */
int run_plain(int32_t dtype, int64_t n, void *dst, const void *src);

#endif
