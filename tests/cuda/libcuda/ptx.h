/* An interpreter of the PTX that ships: warps of 32 lanes, the lanes with the lowest pc first. It
 * knows the instructions of ptx.c's lists and refuses a module that has another. Every access is
 * checked for bounds and alignment. */
#ifndef PTX_H
#define PTX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ptx_module ptx_module;
typedef struct ptx_kernel ptx_kernel;

/* NULL, with the reason in `why`, if the text is not understood. */
ptx_module *ptx_load(const char *text, char *why, size_t size);
void ptx_unload(ptx_module *module);
const ptx_kernel *ptx_find(const ptx_module *module, const char *name);

int ptx_params(const ptx_kernel *kernel);
size_t ptx_param_offset(const ptx_kernel *kernel, int i); /* for i == ptx_params: the size of all parameters */
size_t ptx_param_size(const ptx_kernel *kernel, int i);
int ptx_max_threads(const ptx_kernel *kernel); /* most threads of a block; 0 if the kernel does not say */

/* The memory block that contains an address: its first byte and the byte after its last. False if
 * there is none. */
typedef bool ptx_memory(uint64_t address, uint64_t *low, uint64_t *high, void *context);

typedef struct {
    const ptx_kernel *kernel;
    const void *params;
    unsigned first, blocks, threads; /* the blocks before the first are left out */
    ptx_memory *memory;
    void *context;
    uint32_t nan32; /* the nan that arithmetic instructions make: PTX leaves its bits open */
    uint64_t nan64;
    uint64_t poison; /* the content of a register before it is written */
    bool careful;    /* look for races; one CPU thread runs the whole launch */
} ptx_launch;

typedef enum { PTX_DONE, PTX_OUT_OF_BOUNDS, PTX_MISALIGNED, PTX_RACE, PTX_STUCK } ptx_outcome;

/* Runs a launch to its end. After an error `why` says where it happened. */
ptx_outcome ptx_run(const ptx_launch *launch, char *why, size_t size);

#endif
