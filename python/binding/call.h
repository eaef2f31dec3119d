/* The two functions of Python. */
#ifndef GORSQRT_CALL_H
#define GORSQRT_CALL_H

/* Adds rsqrt, rsqrt_ and the functions of all rooms to the module of this name: 0, or -1 with an
 * exception set. The texts are the two docstrings, which are kept. */
int call_install(const char *module, const char *rsqrt_doc, const char *rsqrt_inplace_doc);

#endif
