/* Go, as C calls it: the arrays and refusals that pass between the two, and the functions. */
#ifndef GORSQRT_GO_H
#define GORSQRT_GO_H

#include "object.h"

#include "../../cgo/kernels.h"
#include "../../cgo/plan.h"

/* An argument as Go sees it. Everything points into the argument or into its operand, and holds as
 * long as that does. */
typedef struct {
    void *data;
    const int64_t *shape, *strides; /* ndim entries each; strides in bytes */
    const char *type;               /* the element type as the container names it, if dtype is GORSQRT_DTYPES */
    int32_t dtype, ndim;
    int32_t read_only;
    const char *because;   /* why it is read-only, if the container has a reason of its own; else NULL */
    int32_t device;        /* rsqrt.Device */
    int32_t is_open;       /* on a CUDA device: whether all fields are filled in, for kernels to be launched on it */
    int32_t index;         /* which CUDA device; -1: the driver knows */
    uintptr_t stream;      /* the CUstream that it is used on; 0: any */
    int32_t default_dtype; /* what booleans and integers are computed in; -1: gorsqrt's default */
} gorsqrt_array;

enum { CPU, CUDA, ELSEWHERE }; /* rsqrt.Device */
enum { LEGACY_STREAM = 1 };    /* CUDA's legacy default stream: CU_STREAM_LEGACY */

/* The end of the work that is enqueued on a stream: an event of the driver's, on this device. */
typedef struct {
    uintptr_t event; /* 0: there is nothing to wait for */
    int32_t device;
} gorsqrt_mark;

/* Why Go refused a call: rsqrt.Error, with rsqrt's numbers of the kinds and operands. */
enum { RUNTIME_ERROR, TYPE_ERROR, VALUE_ERROR, OTHER_SHAPE };
enum { NEITHER, SRC, DST };
typedef struct {
    int32_t kind, operand;
    char *text; /* the receiver frees it; NULL if there is no memory for it */
} gorsqrt_refusal;

/* Raises Go's refusal of a call of this function, and frees its text. In place the destination is
 * the input. */
void refusal_raise(const char *function, bool in_place, gorsqrt_refusal *refusal);

/* A copy of `length` bytes of text, by malloc; NULL if there is no memory. */
char *copied_text(const char *text, size_t length);

/* Go's garbage is collected every so many calls. */
enum { COLLECT_EVERY = 256 };

/* Functions that answer true have refused, and say why in `refusal`. None needs the GIL. */
typedef struct {
    /* The plain kernels in use by dtype, all that are in use, and the settings: Go fills in these
     * four at install and whenever a setting changes. */
    gorsqrt_kernel *express[GORSQRT_COMPUTED];
    const gorsqrt_kernels *kernels[GORSQRT_COMPUTED];
    char tier[16];
    int32_t default_dtype;
    /* Decide how 1/√src is written to dst, or of which strides and dtype a fresh result is. On CUDA
     * devices decide_into fills in the index of the device. */
    bool (*decide_into)(gorsqrt_plan *plan, gorsqrt_array *dst, gorsqrt_array *src, gorsqrt_refusal *refusal);
    bool (*decide_fresh)(gorsqrt_plan *plan, int64_t *strides, int32_t *dtype, gorsqrt_array *src, gorsqrt_refusal *refusal);
    /* Enqueues a plan on the arrays' CUDA device. mark: NULL if nobody wants to know when the work
     * is done. */
    bool (*launch)(gorsqrt_plan *plan, gorsqrt_array *dst, gorsqrt_array *src, gorsqrt_mark *mark, gorsqrt_refusal *refusal);
    bool (*has_passed)(gorsqrt_mark mark); /* and then forgets it */
    /* Memory on CUDA devices, on the legacy default stream; and that another stream waits for this
     * one. */
    bool (*allocate)(int32_t *device, void *other, size_t bytes, uintptr_t *memory, gorsqrt_refusal *refusal);
    void (*give_back)(int32_t device, uintptr_t memory);
    bool (*order)(int32_t device, uintptr_t stream, gorsqrt_refusal *refusal);
    /* Begins this Go, which must not be called before. False if there is no room for it: `why` says
     * so. */
    bool (*start)(char *why, size_t size);
    void (*collect)(void); /* the garbage of its calls */
    /* Takes the settings of the Go that was. */
    bool (*take_over)(char *tier, int32_t default_dtype, int32_t threads, gorsqrt_refusal *refusal);
    char *(*gopy_config)(void);
    char *(*gopy_set_tier)(char *name);
    char *(*gopy_get_default_dtype)(void);
    char *(*gopy_set_default_dtype)(char *name);
    char *(*gopy_set_num_threads)(long long threads);
    void (*release_thread)(void); /* the end of the calling thread will not enter this Go */
} gorsqrt_go;

/* This library's own Go, and the one in use: another one in a forked child that has loaded its
 * copy. Data may be read in any child; for the functions, ask go_ask. */
extern gorsqrt_go go_here, *go_now;

/* The Go to call. In a forked child that loads the copy. NULL with a RuntimeError set if it fails.
 * The GIL is held. */
const gorsqrt_go *go_ask(void);

/* Whether this is the Go in use, and not one of a parent of this process. It needs no GIL. */
bool go_is_in_use(const gorsqrt_go *go);

#endif
