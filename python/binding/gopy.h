/* Between the C that gopy generates and the Go that it calls: in a forked child these ask the copy
 * (fork.c). NULL with an exception set, as gopy's wrappers expect. */
#ifndef GORSQRT_GOPY_H
#define GORSQRT_GOPY_H

#include <stdbool.h>

/* PyInit's first question: whether this process and interpreter may have the module. False with an
 * ImportError set. */
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
