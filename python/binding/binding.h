/* What binding.go and python/generated know of the C here. */
#ifndef GORSQRT_BINDING_H
#define GORSQRT_BINDING_H

#include "call.h"
#include "go.h"
#include "pool.h"
#include "threads.h"

#include <stdlib.h>

#endif
