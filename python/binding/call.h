/* The functions rsqrt and rsqrt_, as Python calls them. */
#ifndef GORSQRT_CALL_H
#define GORSQRT_CALL_H

/* Adds rsqrt, rsqrt_ and this extension's other functions to the module of this name: 0, or -1 with
 * an exception set. The two docstrings must live until the process ends. */
int call_install(const char *module, const char *rsqrt_doc, const char *rsqrt_inplace_doc);

#endif
