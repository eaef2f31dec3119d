/* Go's functions as C calls them, and the structs that both sides read: arrays, plans and
 * refusals. */
#ifndef GORSQRT_GO_H
#define GORSQRT_GO_H

#include "object.h"

#include "../../cgo/kernels.h"
#include "../../cgo/plan.h"

/* An argument in the form that Go reads. Its pointers point into the argument or its operand, and
 * are valid while both live. */
typedef struct {
    void *data;
    const int64_t *shape, *strides; /* ndim entries each; strides in bytes */
    const char *type;               /* the container's name for the element type, if dtype is GORSQRT_DTYPES */
    int32_t dtype, ndim;
    int32_t read_only;
    const char *because;   /* why it is read-only, if the container gives a reason; else NULL */
    int32_t device;        /* rsqrt.Device */
    int32_t is_open;       /* on a CUDA device: whether all fields are filled in, so that kernels can be launched */
    int32_t index;         /* which CUDA device; -1: ask the driver */
    uintptr_t stream;      /* the CUstream on which it is used; 0: any */
    int32_t default_dtype; /* the dtype in which booleans and integers are computed; -1: gorsqrt's default */
} gorsqrt_array;

enum { CPU, CUDA, ELSEWHERE }; /* rsqrt.Device */
enum { LEGACY_STREAM = 1 };    /* CUDA's legacy default stream: CU_STREAM_LEGACY */

/* The end of the work that is enqueued on a stream now: one of the driver's events, on this
 * device. */
typedef struct {
    uintptr_t event; /* 0: there is nothing to wait for */
    int32_t device;
} gorsqrt_mark;

/* Why Go refused a call: rsqrt.Error, with rsqrt's numbers for kinds and operands. */
enum { RUNTIME_ERROR, TYPE_ERROR, VALUE_ERROR, OTHER_SHAPE };
enum { NEITHER, SRC, DST };
typedef struct {
    int32_t kind, operand;
    char *text; /* the receiver frees it; NULL if memory ran out */
} gorsqrt_refusal;

/* Raises Go's refusal of a call of this function, and frees its text. If `in_place`, the text names
 * the destination 'input'. */
void refusal_raise(const char *function, bool in_place, gorsqrt_refusal *refusal);

/* A copy of `length` bytes of text, made by malloc; NULL if there is no memory. */
char *copied_text(const char *text, size_t length);

/* Go's garbage is collected once in this many calls. */
enum { COLLECT_EVERY = 256 };

/* The part of a plan that depends on the dtypes alone; no stages: nothing is computed so. */
typedef struct {
    const gorsqrt_mover *mover;
    const gorsqrt_kernels *kernels;
    int64_t stages;
    gorsqrt_kernel *stage[GORSQRT_MAX_STAGES];
} gorsqrt_steps;

/* The functions in this table need no GIL. A function with a `refusal` answers true if it refuses,
 * and then fills in `refusal`. */
typedef struct {
    /* The plain kernel in use for each dtype, all kernels in use, the steps from a dtype to the one
     * that it is computed in, and the settings. Go fills in these five fields at install, and again
     * when a setting changes. The steps are read without the GIL: those of a tier never change. */
    gorsqrt_kernel *express[GORSQRT_COMPUTED];
    const gorsqrt_kernels *kernels[GORSQRT_COMPUTED];
    const gorsqrt_steps (*steps)[GORSQRT_COMPUTED];
    char tier[16];
    int32_t default_dtype;
    /* decide_into decides how 1/√src is written to dst; decide_fresh also chooses the strides and
     * dtype of a fresh result. On CUDA devices decide_into fills in the device's index. */
    bool (*decide_into)(gorsqrt_plan *plan, gorsqrt_array *dst, gorsqrt_array *src, gorsqrt_refusal *refusal);
    bool (*decide_fresh)(gorsqrt_plan *plan, int64_t *strides, int32_t *dtype, gorsqrt_array *src, gorsqrt_refusal *refusal);
    /* Enqueues a plan on the arrays' CUDA device. mark: NULL if the caller need not know when the
     * work is done. */
    bool (*launch)(gorsqrt_plan *plan, gorsqrt_array *dst, gorsqrt_array *src, gorsqrt_mark *mark, gorsqrt_refusal *refusal);
    bool (*has_passed)(gorsqrt_mark mark); /* if so, the mark is released */
    /* Allocates and frees memory on a CUDA device, in the order of the legacy default stream; and
     * lets another stream wait for the legacy default stream. */
    bool (*allocate)(int32_t *device, void *other, size_t bytes, uintptr_t *memory, gorsqrt_refusal *refusal);
    void (*give_back)(int32_t device, uintptr_t memory);
    bool (*order)(int32_t device, uintptr_t stream, gorsqrt_refusal *refusal);
    /* Starts this Go's runtime; nothing else of Go may be called before. False if the system has
     * too little room for it: `why` says of what. */
    bool (*start)(char *why, size_t size);
    void (*collect)(void); /* collects the garbage of its calls */
    /* Takes over the settings of the Go that was in use before. */
    bool (*take_over)(char *tier, int32_t default_dtype, int32_t threads, gorsqrt_refusal *refusal);
    char *(*gopy_config)(void);
    char *(*gopy_set_tier)(char *name);
    char *(*gopy_get_default_dtype)(void);
    char *(*gopy_set_default_dtype)(char *name);
    char *(*gopy_set_num_threads)(long long threads);
    void (*release_thread)(void); /* from now on the calling thread does not enter this Go when it ends */
} gorsqrt_go;

/* This library's own Go, and the Go in use. They differ in a forked child that has loaded a copy of
 * the library. Any process may read the data fields; call the functions only through go_ask. */
extern gorsqrt_go go_here, *go_now;

/* The Go to call. In a forked child this loads a copy of the library first. NULL with an exception
 * set if that fails. The GIL must be held. */
const gorsqrt_go *go_ask(void);

/* Whether this is the Go in use, and not the Go of a parent process. It needs no GIL. */
bool go_is_in_use(const gorsqrt_go *go);

#endif
