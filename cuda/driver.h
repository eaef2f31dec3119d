/* See driver.c. */
#ifndef GORSQRT_DRIVER_H
#define GORSQRT_DRIVER_H

#include "include/cuda.h"

/* Loads and initialises the driver, the first time; what its cuInit answers. Any thread may call it
 * at any time. */
CUresult driver_open(void);

/* Why the driver's library could not be loaded; "" where it was, or before driver_open. */
const char *driver_missing(void);

#endif
