/* The C declarations that binding.go and python/generated use. */
#ifndef GORSQRT_BINDING_H
#define GORSQRT_BINDING_H

#include "call.h"
#include "go.h"
#include "pool.h"
#include "threads.h"

#include <stdlib.h>

#endif
