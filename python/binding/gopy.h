/* gopy's generated C calls these functions in place of Go's. In a forked child they call the
 * library's copy (go.c). NULL with an exception set if they fail, as gopy's wrappers expect. */
#ifndef GORSQRT_GOPY_H
#define GORSQRT_GOPY_H

#include <stdbool.h>

/* PyInit calls this first: whether this process and this interpreter may have the module. False
 * with an ImportError set. */
bool guarded_init(void);

char *guarded_config(void);
char *guarded_install(char *module);
char *guarded_set_tier(char *name);
char *guarded_get_default_dtype(void);
char *guarded_set_default_dtype(char *name);
char *guarded_set_num_threads(long long threads);

#define binding_Config guarded_config
#define binding_Install guarded_install
#define binding_SetTier guarded_set_tier
#define binding_GetDefaultDType guarded_get_default_dtype
#define binding_SetDefaultDType guarded_set_default_dtype
#define binding_SetNumThreads guarded_set_num_threads

#endif
