/* Casts between dtypes, (dst, src, n) over contiguous items that share no byte. One step each: Go chains them (rsqrt/dtype.go).
 * Rounded to nearest even; nans keep their sign and are quieted. They run under the default floating-point mode, which
 * gorsqrt_execute sees to. */
#ifndef GORSQRT_CAST_H
#define GORSQRT_CAST_H

#include "kernels.h"

/* The direct casts of a tier, which all give the same bits; NULL where there is none. */
extern gorsqrt_kernel *const gorsqrt_casts[GORSQRT_TIERS][GORSQRT_DTYPES][GORSQRT_COMPUTED];

#endif
