/* A test double of libcuda.so.1: the driver's documented functions on the CPU's memory. ptx.c runs
 * the kernels.
 *
 * - There are two devices. - Work on a stream runs only when something waits for it, so a missing
 *   wait shows. After double_schedule it runs in one of the allowed orders, drawn at random. -
 *   Device memory is the CPU's, filled with 0xa5. Copies and kernels are checked to the byte, and a
 *   kernel sees the memory of its own device only. Freed memory is not used again for a while, so a
 *   late access shows. - Small launches run `careful` (ptx.h).
 *
 * The functions double_… are for the tests. Any thread may call any function. */
#include "../../../cuda/include/cuda.h"

#include "ptx.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

enum {
    DEVICES = 2,
    HOST = -1, /* in place of a device: the CPU's own memory, pinned */
    STACK = 16,
    ALIGNMENT = 512,
    RESTING = 256, /* number of freed blocks that are not used again yet */
    HUGE = 1 << 28 /* from this size on memory is not filled, so that unwritten pages take no memory */
};

#define CAPACITY ((size_t)1 << 34) /* of a device, in bytes */

/* Declarations that cuda.h leaves out. */
typedef struct CUmemPoolHandle_st *CUmemoryPool;
enum { POOL_RESERVED_NOW = 5, POOL_RESERVED_MOST, POOL_USED_NOW, POOL_USED_MOST };

typedef enum { KERNEL, COPY, FILL, FREE, CALL, MARK, GRAPH_FREE } work_kind;

/* One piece of work on a stream. */
typedef struct work {
    work_kind kind;
    uint64_t sequence; /* grows with every piece of work, on any stream */
    int device;
    union {
        struct {
            const ptx_kernel *kernel;
            unsigned blocks, threads;
            void *params;
        };
        struct {
            uint64_t dst, src;
            size_t bytes;
            unsigned char value;
            bool to_device, from_device;
            void *staged; /* a copy of src, if it was made at the call */
        };
        struct {
            CUhostFn call;
            void *data;
        };
    };
    struct wait {
        CUstream stream;
        uint64_t sequence;
    } *waits; /* the work that must be done before this */
    int nwaits;
    struct work *next;
} work;

/* The pieces of a capture that precede the next piece, by their numbers in the order of the
 * calls. */
typedef struct {
    bool *is;
    size_t length;
} piece_set;

struct CUctx_st {
    int device, users;
    CUresult error; /* a kernel's error, which all further calls answer */
};

struct CUstream_st {
    CUcontext context;
    bool blocking; /* waits for the default stream, and the default stream waits for it */
    bool legacy, destroyed;
    int priority;
    work *first, **end;
    CUgraph capture;
    piece_set before;
    bool origin;
    CUstream next;
};

struct CUevent_st {
    CUcontext context;
    unsigned flags;
    bool destroyed;
    CUstream stream;
    uint64_t sequence;
    CUgraph capture;
    piece_set before;
};

struct CUgraph_st {
    work *first, **end;
    CUstreamCaptureMode mode;
    pthread_t thread;
    uint64_t id;
    size_t pieces;
    CUgraphNode last;
    bool invalid;
    int users; /* the graph itself, and the objects made from it */
};

struct CUgraphExec_st {
    CUgraph graph;
};

struct CUmod_st {
    CUcontext context;
    ptx_module *module;
};

struct CUfunc_st {
    CUcontext context;
    const ptx_kernel *kernel;
};

/* A block of a device's memory, or of the CPU's memory that the driver has pinned. */
typedef struct {
    uint64_t low, high;
    int device;
    bool registered; /* the program's memory, pinned in place; the driver does not free it */
} block;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pid_t process; /* the process that called cuInit; 0: none */
static struct CUctx_st contexts[DEVICES] = {{.device = 0}, {.device = 1}};
static struct CUstream_st defaults[DEVICES], per_thread[DEVICES];
static CUstream streams;
static block *blocks;
static size_t nblocks;
static struct CUmemPoolHandle_st {
    size_t used, most; /* bytes allocated on a device, and the most at one time */
} pools[DEVICES];
static void *resting[RESTING];
static size_t nresting;
static uint64_t sequence;
static CUgraph captures[64];
static int ncaptures;

static __thread CUcontext stack[STACK];
static __thread int depth;
static __thread CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

/* The tests' controls. */
static char failing[64];
static int failing_after;
static CUresult failing_with;
static char *call_log;
static size_t log_length;
static uint64_t schedule;
static char why[512];
static uint32_t nan32 = 0x7fffffff;
static uint64_t nan64 = 0x7fffffffffffffff, poison = 0xdeadbeefdeadbeef;
static unsigned first_block;

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
    char line[256];
    va_list args;
    va_start(args, format);
    int const n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    call_log = realloc(call_log, log_length + (size_t)n + 2);
    memcpy(call_log + log_length, line, (size_t)n);
    log_length += (size_t)n;
    call_log[log_length++] = '\n';
    call_log[log_length] = 0;
}

/* Begins a call: takes the lock, writes the log, and returns the error that the tests have
 * ordered. */
static CUresult enter(const char *function) {
    pthread_mutex_lock(&mutex);
    note("%s", function);
    if (strcmp(function, failing) == 0) {
        if (failing_after < 0) return failing_with;
        if (failing_after-- == 0) {
            failing[0] = 0;
            return failing_with;
        }
    }
    if (process != getpid() && strcmp(function, "cuInit") != 0) return CUDA_ERROR_NOT_INITIALIZED;
    return CUDA_SUCCESS;
}

static CUresult leave(CUresult result) {
    pthread_mutex_unlock(&mutex);
    return result;
}

#define ENTER(function)                                                                                                        \
    do {                                                                                                                       \
        CUresult const refused = enter(function);                                                                              \
        if (refused) return leave(refused);                                                                                    \
    } while (0)

#define CHECK(condition, error)                                                                                                \
    if (!(condition)) return leave(error)

static CUcontext current(void) {
    return depth > 0 ? stack[depth - 1] : NULL;
}

#define CURRENT(context)                                                                                                       \
    CUcontext const context = current();                                                                                       \
    CHECK(context && context->users, CUDA_ERROR_INVALID_CONTEXT);                                                              \
    CHECK(context->error == CUDA_SUCCESS, context->error)

/* Memory. */

static size_t position(uint64_t address) {
    size_t low = 0, high = nblocks;
    while (low < high) {
        size_t const middle = (low + high) / 2;
        if (blocks[middle].high <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const block *block_at(uint64_t address) {
    size_t const i = position(address);
    return i < nblocks && blocks[i].low <= address ? &blocks[i] : NULL;
}

static bool memory_of(uint64_t address, uint64_t *low, uint64_t *high, void *context) {
    const block *const b = block_at(address);
    if (b == NULL || b->device != *(int *)context) return false;
    *low = b->low;
    *high = b->high;
    return true;
}

static void add_block(block b) {
    blocks = realloc(blocks, (nblocks + 1) * sizeof *blocks);
    size_t const i = position(b.low);
    memmove(&blocks[i + 1], &blocks[i], (nblocks - i) * sizeof *blocks);
    blocks[i] = b;
    nblocks++;
}

static uint64_t allocate(size_t bytes, int device) {
    if (bytes > CAPACITY - (device == HOST ? 0 : pools[device].used)) return 0;
    char *const memory = aligned_alloc(ALIGNMENT, (bytes + 2 * ALIGNMENT) / ALIGNMENT * ALIGNMENT);
    if (memory == NULL) return 0;
    if (bytes < HUGE) memset(memory, 0xa5, bytes);
    uint64_t const low = (uint64_t)(uintptr_t)memory;
    add_block((block){low, low + bytes, device, false});
    if (device != HOST) {
        struct CUmemPoolHandle_st *const pool = &pools[device];
        pool->used += bytes;
        if (pool->used > pool->most) pool->most = pool->used;
    }
    return low;
}

static void release(uint64_t low) {
    size_t const i = position(low);
    block const b = blocks[i];
    nblocks--;
    memmove(&blocks[i], &blocks[i + 1], (nblocks - i) * sizeof *blocks);
    if (b.device != HOST) pools[b.device].used -= b.high - b.low;
    if (b.registered) return;
    void *memory = (void *)(uintptr_t)low;
    if (b.high - b.low < HUGE / RESTING) {
        size_t const oldest = nresting++ % RESTING;
        void *const rested = resting[oldest];
        resting[oldest] = memory;
        memory = rested;
    }
    free(memory);
}

/* Whether a whole range is in one block, if it begins in a block. */
static bool within(uint64_t address, size_t bytes) {
    const block *const b = block_at(address);
    return bytes == 0 || b == NULL || bytes <= b->high - address;
}

/* Whether a whole range is in one block. A block may have been freed between enqueuing work on it
 * and running the work. */
static bool holds(uint64_t address, size_t bytes) {
    return bytes == 0 || (block_at(address) && within(address, bytes));
}

static bool is_device(uint64_t address) {
    const block *const b = block_at(address);
    return b && b->device != HOST;
}

/* Streams. */

static void run_until(CUstream stream, uint64_t until);

static void set_error(int device, CUresult error) {
    if (contexts[device].error == CUDA_SUCCESS) contexts[device].error = error;
}

static void run_kernel(const work *w) {
    enum { SMALL = 1 << 14 };
    int device = w->device;
    unsigned const first = first_block < w->blocks ? first_block : 0;
    ptx_launch const launch = {
        .kernel = w->kernel,
        .params = w->params,
        .first = first,
        .blocks = w->blocks,
        .threads = w->threads,
        .memory = memory_of,
        .context = &device,
        .nan32 = nan32,
        .nan64 = nan64,
        .poison = poison,
        .careful = (uint64_t)(w->blocks - first) * w->threads <= SMALL,
    };
    switch (ptx_run(&launch, why, sizeof why)) {
        case PTX_DONE: break;
        case PTX_OUT_OF_BOUNDS: set_error(device, CUDA_ERROR_ILLEGAL_ADDRESS); break;
        case PTX_MISALIGNED: set_error(device, CUDA_ERROR_MISALIGNED_ADDRESS); break;
        case PTX_RACE: set_error(device, CUDA_ERROR_LAUNCH_FAILED); break;
        case PTX_STUCK: set_error(device, CUDA_ERROR_LAUNCH_TIMEOUT); break;
    }
}

static void run_work(const work *w) {
    for (int i = 0; i < w->nwaits; i++) run_until(w->waits[i].stream, w->waits[i].sequence);
    if (contexts[w->device].error) return;
    switch (w->kind) {
        case KERNEL: run_kernel(w); break;
        case COPY:
            if ((w->to_device && !holds(w->dst, w->bytes)) || (w->from_device && !holds(w->src, w->bytes))) {
                set_error(w->device, CUDA_ERROR_ILLEGAL_ADDRESS);
            } else {
                memmove((void *)(uintptr_t)w->dst, (const void *)(uintptr_t)w->src, w->bytes);
            }
            break;
        case FILL:
            if (holds(w->dst, w->bytes)) {
                memset((void *)(uintptr_t)w->dst, w->value, w->bytes);
            } else {
                set_error(w->device, CUDA_ERROR_ILLEGAL_ADDRESS);
            }
            break;
        case FREE: release(w->dst); break;
        case CALL: w->call(w->data); break;
        case MARK: break;
        case GRAPH_FREE: break; /* the memory is the graph's, which may be replayed */
    }
}

static void discard(work *w) {
    if (w->kind == KERNEL) free(w->params);
    if (w->kind == COPY) free(w->staged);
    free(w->waits);
    free(w);
}

static void run_until(CUstream stream, uint64_t until) {
    while (stream->first && stream->first->sequence <= until) {
        work *const w = stream->first;
        run_work(w);
        /* The work may have run work of other streams, but none of this stream: no work waits for
         * itself. */
        stream->first = w->next;
        if (stream->first == NULL) stream->end = &stream->first;
        discard(w);
    }
}

#define FOREVER UINT64_MAX

static void run_device(int device) {
    run_until(&defaults[device], FOREVER);
    run_until(&per_thread[device], FOREVER);
    for (CUstream s = streams; s; s = s->next) {
        if (s->context->device == device) run_until(s, FOREVER);
    }
}

static void add_wait(work *w, CUstream stream, uint64_t until) {
    w->waits = realloc(w->waits, (size_t)(w->nwaits + 1) * sizeof *w->waits);
    w->waits[w->nwaits++] = (struct wait){stream, until};
}

/* The stream of a handle. The default stream belongs to the current context. NULL for a destroyed
 * stream. */
static CUstream any_stream(CUstream handle, CUcontext context) {
    if (handle == NULL || handle == (CUstream)1) return &defaults[context->device];
    if (handle == (CUstream)2) return &per_thread[context->device];
    return handle->destroyed ? NULL : handle;
}

/* The same for calls that require a stream of the current context; NULL for a stream of another
 * context. */
static CUstream stream_of(CUstream handle, CUcontext context) {
    CUstream const stream = any_stream(handle, context);
    return stream && stream->context == context ? stream : NULL;
}

static bool is_active(CUgraph capture) {
    for (int i = 0; i < ncaptures; i++) {
        if (captures[i] == capture) return true;
    }
    return false;
}

static void invalidate(void) {
    for (int i = 0; i < ncaptures; i++) captures[i]->invalid = true;
}

/* Whether a capture forbids unsafe calls in this thread now. */
static bool prohibited(void) {
    bool found = false;
    for (int i = 0; i < ncaptures && thread_mode != CU_STREAM_CAPTURE_MODE_RELAXED; i++) {
        bool const mine = pthread_equal(captures[i]->thread, pthread_self());
        switch (captures[i]->mode) {
            case CU_STREAM_CAPTURE_MODE_GLOBAL: found |= mine || thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL; break;
            case CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: found |= mine; break;
            default: break;
        }
    }
    if (found) invalidate();
    return found;
}

static void add_piece(piece_set *to, size_t piece) {
    if (piece >= to->length) {
        to->is = realloc(to->is, piece + 1);
        memset(to->is + to->length, 0, piece + 1 - to->length);
        to->length = piece + 1;
    }
    to->is[piece] = true;
}

static void add_pieces(piece_set *to, const piece_set *from) {
    for (size_t i = 0; i < from->length; i++) {
        if (from->is[i]) add_piece(to, i);
    }
}

static void append(work *w, work ***end) {
    **end = w;
    *end = &w->next;
}

/* Runs a randomly drawn piece of work of some stream, or none. */
static void run_any(void) {
    if (schedule == 0) return;
    schedule ^= schedule << 13;
    schedule ^= schedule >> 7;
    schedule ^= schedule << 17;
    CUstream busy[64];
    size_t n = 0;
    for (int d = 0; d < DEVICES; d++) {
        if (defaults[d].first) busy[n++] = &defaults[d];
        if (per_thread[d].first) busy[n++] = &per_thread[d];
    }
    for (CUstream s = streams; s && n < sizeof busy / sizeof *busy; s = s->next) {
        if (s->first) busy[n++] = s;
    }
    size_t const drawn = (size_t)(schedule >> 16) % (2 * n + 1);
    if (drawn < n) run_until(busy[drawn], busy[drawn]->first->sequence);
}

/* Enqueues work, or captures it. */
static CUresult enqueue(CUstream stream, work const *what) {
    if (stream->legacy) {
        for (CUstream s = streams; s; s = s->next) {
            if (s->capture && s->blocking && s->context == stream->context) {
                invalidate();
                return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
            }
        }
    }
    work *const w = malloc(sizeof *w);
    *w = *what;
    w->device = stream->context->device;
    w->next = NULL;
    if (stream->capture) {
        if (stream->capture->invalid) {
            free(w);
            return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
        }
        append(w, &stream->capture->end);
        add_piece(&stream->before, stream->capture->pieces++);
        return CUDA_SUCCESS;
    }
    w->sequence = ++sequence;
    if (stream->legacy) {
        for (CUstream s = streams; s; s = s->next) {
            if (s->blocking && s->context == stream->context && s->first) add_wait(w, s, sequence);
        }
    } else if (stream->blocking && defaults[w->device].first) {
        add_wait(w, &defaults[w->device], sequence);
    }
    append(w, &stream->end);
    run_any();
    return CUDA_SUCCESS;
}

/* The same, and waits for the work. */
static CUresult perform(CUcontext context, work const *what) {
    CUstream const stream = &defaults[context->device];
    if (prohibited()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    CUresult const result = enqueue(stream, what);
    if (result == CUDA_SUCCESS) run_until(stream, FOREVER);
    return result ? result : context->error;
}

/* Initialisation, devices, contexts. */

API CUresult cuInit(unsigned int flags) {
    ENTER("cuInit");
    CHECK(flags == 0, CUDA_ERROR_INVALID_VALUE);
    CHECK(process == 0 || process == getpid(), CUDA_ERROR_NOT_INITIALIZED);
    if (process == 0) {
        for (int d = 0; d < DEVICES; d++) {
            defaults[d] = (struct CUstream_st){.context = &contexts[d], .legacy = true, .end = &defaults[d].first};
            per_thread[d] = (struct CUstream_st){.context = &contexts[d], .blocking = true, .end = &per_thread[d].first};
        }
    }
    process = getpid();
    return leave(CUDA_SUCCESS);
}

API CUresult cuDriverGetVersion(int *version) {
    *version = 13020;
    return CUDA_SUCCESS;
}

API CUresult cuDeviceGetCount(int *count) {
    ENTER("cuDeviceGetCount");
    *count = DEVICES;
    return leave(CUDA_SUCCESS);
}

API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
    ENTER("cuDeviceGet");
    CHECK(ordinal >= 0 && ordinal < DEVICES, CUDA_ERROR_INVALID_DEVICE);
    *device = ordinal;
    return leave(CUDA_SUCCESS);
}

API CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
    ENTER("cuDeviceGetName");
    snprintf(name, (size_t)length, "Test double %d", device);
    return leave(CUDA_SUCCESS);
}

API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
    ENTER("cuDeviceTotalMem");
    (void)device;
    *bytes = CAPACITY;
    return leave(CUDA_SUCCESS);
}

API CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    ENTER("cuDeviceGetAttribute");
    CHECK(device >= 0 && device < DEVICES, CUDA_ERROR_INVALID_DEVICE);
    switch ((int)attribute) {
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; break;
        case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 0x7fffffff; break;
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
        case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 0xffff; break;
        case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = 2048; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 48 << 10; break;
        case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK: *value = 1 << 16; break;
        case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 2; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING: *value = 1; break;
        default: *value = 0;
    }
    return leave(CUDA_SUCCESS);
}

API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
    ENTER("cuDevicePrimaryCtxRetain");
    CHECK(device >= 0 && device < DEVICES, CUDA_ERROR_INVALID_DEVICE);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    contexts[device].users++;
    *context = &contexts[device];
    return leave(CUDA_SUCCESS);
}

API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
    ENTER("cuDevicePrimaryCtxRelease");
    CHECK(device >= 0 && device < DEVICES && contexts[device].users, CUDA_ERROR_INVALID_CONTEXT);
    contexts[device].users--;
    return leave(CUDA_SUCCESS);
}

API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned int *flags, int *active) {
    ENTER("cuDevicePrimaryCtxGetState");
    *flags = 0;
    *active = contexts[device].users > 0;
    return leave(CUDA_SUCCESS);
}

API CUresult cuCtxPushCurrent_v2(CUcontext context) {
    ENTER("cuCtxPushCurrent");
    CHECK(context && context->users && depth < STACK, CUDA_ERROR_INVALID_CONTEXT);
    stack[depth++] = context;
    return leave(CUDA_SUCCESS);
}

API CUresult cuCtxPopCurrent_v2(CUcontext *context) {
    ENTER("cuCtxPopCurrent");
    CHECK(depth > 0, CUDA_ERROR_INVALID_CONTEXT);
    depth--;
    if (context) *context = stack[depth];
    return leave(CUDA_SUCCESS);
}

API CUresult cuCtxGetCurrent(CUcontext *context) {
    ENTER("cuCtxGetCurrent");
    *context = current();
    return leave(CUDA_SUCCESS);
}

API CUresult cuCtxSetCurrent(CUcontext context) {
    ENTER("cuCtxSetCurrent");
    if (depth == 0) depth = 1;
    stack[depth - 1] = context;
    if (context == NULL) depth--;
    return leave(CUDA_SUCCESS);
}

API CUresult cuCtxGetDevice(CUdevice *device) {
    ENTER("cuCtxGetDevice");
    CHECK(current(), CUDA_ERROR_INVALID_CONTEXT);
    *device = current()->device;
    return leave(CUDA_SUCCESS);
}

API CUresult cuCtxSynchronize(void) {
    ENTER("cuCtxSynchronize");
    CURRENT(context);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    run_device(context->device);
    return leave(context->error);
}

/* Modules and launches. */

API CUresult cuModuleLoadData(CUmodule *module, const void *image) {
    ENTER("cuModuleLoadData");
    CURRENT(context);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    ptx_module *const loaded = ptx_load(image, why, sizeof why);
    CHECK(loaded, CUDA_ERROR_INVALID_PTX);
    *module = malloc(sizeof **module);
    **module = (struct CUmod_st){context, loaded};
    return leave(CUDA_SUCCESS);
}

API CUresult cuModuleUnload(CUmodule module) {
    ENTER("cuModuleUnload");
    run_device(module->context->device);
    ptx_unload(module->module);
    free(module);
    return leave(CUDA_SUCCESS);
}

API CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
    ENTER("cuModuleGetFunction");
    CURRENT(context);
    CHECK(module->context == context, CUDA_ERROR_INVALID_HANDLE);
    const ptx_kernel *const kernel = ptx_find(module->module, name);
    CHECK(kernel, CUDA_ERROR_NOT_FOUND);
    *function = malloc(sizeof **function); /* never freed: tests end soon */
    **function = (struct CUfunc_st){context, kernel};
    return leave(CUDA_SUCCESS);
}

API CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz, unsigned int bx, unsigned int by,
                            unsigned int bz, unsigned int shared, CUstream handle, void **params, void **extra) {
    ENTER("cuLaunchKernel");
    CURRENT(context);
    CHECK(f->context == context, CUDA_ERROR_INVALID_HANDLE);
    CUstream const stream = stream_of(handle, context);
    CHECK(stream, CUDA_ERROR_INVALID_HANDLE);
    CHECK(gx && gx <= 0x7fffffff && bx && bx <= 1024, CUDA_ERROR_INVALID_VALUE);
    CHECK(gy == 1 && gz == 1 && by == 1 && bz == 1 && shared == 0 && extra == NULL, CUDA_ERROR_NOT_SUPPORTED);
    int const most = ptx_max_threads(f->kernel), n = ptx_params(f->kernel);
    CHECK(most == 0 || bx <= (unsigned)most, CUDA_ERROR_INVALID_VALUE);
    char *const copied = malloc(ptx_param_offset(f->kernel, n));
    for (int i = 0; i < n; i++) memcpy(copied + ptx_param_offset(f->kernel, i), params[i], ptx_param_size(f->kernel, i));
    work const launch = {.kind = KERNEL, .kernel = f->kernel, .blocks = gx, .threads = bx, .params = copied};
    note("  %u x %u threads on device %d, stream %p", gx, bx, context->device, (void *)handle);
    CUresult const result = enqueue(stream, &launch);
    if (result) free(copied);
    return leave(result);
}

/* Memory. */

API CUresult cuMemAlloc_v2(CUdeviceptr *memory, size_t bytes) {
    ENTER("cuMemAlloc");
    CURRENT(context);
    CHECK(bytes, CUDA_ERROR_INVALID_VALUE);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    *memory = allocate(bytes, context->device);
    return leave(*memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuMemFree_v2(CUdeviceptr memory) {
    ENTER("cuMemFree");
    const block *const b = block_at(memory);
    CHECK(b && b->low == memory && b->device != HOST, CUDA_ERROR_INVALID_VALUE);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    run_device(b->device);
    release(memory);
    return leave(CUDA_SUCCESS);
}

/* Memory that a capture allocates exists from then on. It lasts until it is freed outside the
 * capture, or if it is freed in the capture, as long as the graph. */
API CUresult cuMemAllocAsync(CUdeviceptr *memory, size_t bytes, CUstream handle) {
    ENTER("cuMemAllocAsync");
    CURRENT(context);
    CUstream const stream = stream_of(handle, context);
    CHECK(stream && bytes, CUDA_ERROR_INVALID_VALUE);
    CHECK(!stream->capture || !stream->capture->invalid, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    *memory = allocate(bytes, context->device);
    return leave(*memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuMemFreeAsync(CUdeviceptr memory, CUstream handle) {
    ENTER("cuMemFreeAsync");
    CURRENT(context);
    CUstream const stream = stream_of(handle, context);
    const block *const b = block_at(memory);
    CHECK(stream && b && b->low == memory && b->device != HOST, CUDA_ERROR_INVALID_VALUE);
    work const freeing = {.kind = stream->capture ? GRAPH_FREE : FREE, .dst = memory};
    return leave(enqueue(stream, &freeing));
}

/* CPU memory that is not pinned is used only during the call: it is read at the call, or written
 * before the call returns. */
static CUresult copy(uint64_t dst, uint64_t src, size_t bytes, bool wait, CUstream handle) {
    CURRENT(context);
    CUstream const stream = any_stream(handle, context);
    CHECK(stream, CUDA_ERROR_INVALID_HANDLE);
    CHECK(within(dst, bytes) && within(src, bytes), CUDA_ERROR_INVALID_VALUE);
    work copying = {.kind = COPY, .dst = dst, .src = src, .bytes = bytes};
    copying.to_device = is_device(dst);
    copying.from_device = is_device(src);
    if (wait) return leave(perform(context, &copying));
    if (stream->capture == NULL && block_at(src) == NULL && bytes) {
        copying.staged = memcpy(malloc(bytes), (const void *)(uintptr_t)src, bytes);
        copying.src = (uint64_t)(uintptr_t)copying.staged;
    }
    CUresult const result = enqueue(stream, &copying);
    if (result) {
        free(copying.staged);
    } else if (stream->capture == NULL && block_at(dst) == NULL) {
        run_until(stream, FOREVER);
    }
    return leave(result ? result : stream->context->error);
}

API CUresult cuMemcpyHtoD_v2(CUdeviceptr dst, const void *src, size_t bytes) {
    ENTER("cuMemcpyHtoD");
    CHECK(is_device(dst), CUDA_ERROR_INVALID_VALUE);
    return copy(dst, (uint64_t)(uintptr_t)src, bytes, true, NULL);
}

API CUresult cuMemcpyDtoH_v2(void *dst, CUdeviceptr src, size_t bytes) {
    ENTER("cuMemcpyDtoH");
    CHECK(is_device(src), CUDA_ERROR_INVALID_VALUE);
    return copy((uint64_t)(uintptr_t)dst, src, bytes, true, NULL);
}

API CUresult cuMemcpyDtoD_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
    ENTER("cuMemcpyDtoD");
    CHECK(is_device(dst) && is_device(src), CUDA_ERROR_INVALID_VALUE);
    return copy(dst, src, bytes, true, NULL);
}

API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr dst, const void *src, size_t bytes, CUstream stream) {
    ENTER("cuMemcpyHtoDAsync");
    CHECK(is_device(dst), CUDA_ERROR_INVALID_VALUE);
    return copy(dst, (uint64_t)(uintptr_t)src, bytes, false, stream);
}

API CUresult cuMemcpyDtoHAsync_v2(void *dst, CUdeviceptr src, size_t bytes, CUstream stream) {
    ENTER("cuMemcpyDtoHAsync");
    CHECK(is_device(src), CUDA_ERROR_INVALID_VALUE);
    return copy((uint64_t)(uintptr_t)dst, src, bytes, false, stream);
}

API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
    ENTER("cuMemcpyDtoDAsync");
    CHECK(is_device(dst) && is_device(src), CUDA_ERROR_INVALID_VALUE);
    return copy(dst, src, bytes, false, stream);
}

API CUresult cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t bytes, CUstream stream) {
    ENTER("cuMemcpyAsync");
    return copy(dst, src, bytes, false, stream);
}

API CUresult cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t bytes) {
    ENTER("cuMemcpy");
    return copy(dst, src, bytes, true, NULL);
}

API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    ENTER("cuMemGetInfo");
    CURRENT(context);
    *total = CAPACITY;
    *free_bytes = CAPACITY - pools[context->device].used;
    return leave(CUDA_SUCCESS);
}

/* A device's pool is all of its memory, and keeps no freed memory. */

API CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice device) {
    ENTER("cuDeviceGetDefaultMemPool");
    CHECK(device >= 0 && device < DEVICES, CUDA_ERROR_INVALID_DEVICE);
    *pool = &pools[device];
    return leave(CUDA_SUCCESS);
}

API CUresult cuMemPoolGetAttribute(CUmemoryPool pool, int attribute, void *value) {
    ENTER("cuMemPoolGetAttribute");
    switch (attribute) {
        case POOL_RESERVED_NOW:
        case POOL_USED_NOW: *(cuuint64_t *)value = pool->used; break;
        case POOL_RESERVED_MOST:
        case POOL_USED_MOST: *(cuuint64_t *)value = pool->most; break;
        default: return leave(CUDA_ERROR_NOT_SUPPORTED);
    }
    return leave(CUDA_SUCCESS);
}

API CUresult cuMemPoolSetAttribute(CUmemoryPool pool, int attribute, void *value) {
    ENTER("cuMemPoolSetAttribute");
    if (attribute == POOL_RESERVED_MOST || attribute == POOL_USED_MOST) {
        CHECK(*(cuuint64_t *)value == 0, CUDA_ERROR_INVALID_VALUE);
        pool->most = pool->used;
    }
    return leave(CUDA_SUCCESS);
}

API CUresult cuMemPoolTrimTo(CUmemoryPool pool, size_t bytes) {
    (void)pool, (void)bytes;
    ENTER("cuMemPoolTrimTo");
    return leave(CUDA_SUCCESS);
}

API CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned int flags) {
    ENTER("cuMemHostAlloc");
    CURRENT(context);
    (void)flags;
    CHECK(bytes, CUDA_ERROR_INVALID_VALUE);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    *memory = (void *)(uintptr_t)allocate(bytes, HOST);
    return leave(*memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY);
}

API CUresult cuMemFreeHost(void *memory) {
    ENTER("cuMemFreeHost");
    uint64_t const address = (uint64_t)(uintptr_t)memory;
    const block *const b = block_at(address);
    CHECK(b && b->low == address && b->device == HOST && !b->registered, CUDA_ERROR_INVALID_VALUE);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    for (int d = 0; d < DEVICES; d++) run_device(d);
    release(address);
    return leave(CUDA_SUCCESS);
}

API CUresult cuMemHostRegister_v2(void *memory, size_t bytes, unsigned int flags) {
    ENTER("cuMemHostRegister");
    CURRENT(context);
    (void)flags;
    uint64_t const low = (uint64_t)(uintptr_t)memory;
    CHECK(bytes, CUDA_ERROR_INVALID_VALUE);
    size_t const i = position(low);
    CHECK(i == nblocks || low + bytes <= blocks[i].low, CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    add_block((block){low, low + bytes, HOST, true});
    return leave(CUDA_SUCCESS);
}

API CUresult cuMemHostUnregister(void *memory) {
    ENTER("cuMemHostUnregister");
    uint64_t const address = (uint64_t)(uintptr_t)memory;
    const block *const b = block_at(address);
    CHECK(b && b->low == address && b->registered, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    for (int d = 0; d < DEVICES; d++) run_device(d);
    release(address);
    return leave(CUDA_SUCCESS);
}

API CUresult cuMemsetD8Async(CUdeviceptr dst, unsigned char value, size_t bytes, CUstream handle) {
    ENTER("cuMemsetD8Async");
    CURRENT(context);
    CUstream const stream = stream_of(handle, context);
    CHECK(stream && is_device(dst) && within(dst, bytes), CUDA_ERROR_INVALID_VALUE);
    work const filling = {.kind = FILL, .dst = dst, .bytes = bytes, .value = value};
    return leave(enqueue(stream, &filling));
}

API CUresult cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr address) {
    ENTER("cuPointerGetAttribute");
    const block *const b = block_at(address);
    CHECK(b, CUDA_ERROR_INVALID_VALUE);
    int const device = b->device == HOST ? 0 : b->device;
    switch ((int)attribute) {
        case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)data = &contexts[device]; break;
        case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
            *(unsigned int *)data = b->device == HOST ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
            break;
        case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr *)data = address; break;
        case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)data = device; break;
        default: return leave(CUDA_ERROR_NOT_SUPPORTED);
    }
    return leave(CUDA_SUCCESS);
}

/* Streams and events. */

API CUresult cuStreamCreateWithPriority(CUstream *stream, unsigned int flags, int priority) {
    ENTER("cuStreamCreate");
    CURRENT(context);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CUstream const s = calloc(1, sizeof *s);
    s->context = context;
    s->blocking = !(flags & CU_STREAM_NON_BLOCKING);
    s->priority = priority;
    s->end = &s->first;
    s->next = streams;
    streams = s;
    *stream = s;
    return leave(CUDA_SUCCESS);
}

API CUresult cuStreamCreate(CUstream *stream, unsigned int flags) {
    return cuStreamCreateWithPriority(stream, flags, 0);
}

API CUresult cuStreamGetPriority(CUstream handle, int *priority) {
    ENTER("cuStreamGetPriority");
    CURRENT(context);
    CUstream const stream = any_stream(handle, context);
    CHECK(stream, CUDA_ERROR_INVALID_HANDLE);
    *priority = stream->priority;
    return leave(CUDA_SUCCESS);
}

API CUresult cuStreamDestroy_v2(CUstream stream) {
    ENTER("cuStreamDestroy");
    CHECK(stream > (CUstream)2 && !stream->destroyed, CUDA_ERROR_INVALID_HANDLE);
    run_until(stream, FOREVER); /* not freed, since events may refer to it */
    stream->destroyed = true;
    for (CUstream *s = &streams; *s; s = &(*s)->next) {
        if (*s == stream) {
            *s = stream->next;
            break;
        }
    }
    return leave(CUDA_SUCCESS);
}

API CUresult cuStreamSynchronize(CUstream handle) {
    ENTER("cuStreamSynchronize");
    CURRENT(context);
    CUstream const stream = any_stream(handle, context);
    CHECK(stream, CUDA_ERROR_INVALID_HANDLE);
    if (stream->capture) {
        invalidate();
        return leave(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    run_until(stream, FOREVER);
    return leave(stream->context->error);
}

/* A query lets the work continue, so a loop of queries comes to its end. */
API CUresult cuStreamQuery(CUstream handle) {
    ENTER("cuStreamQuery");
    CURRENT(context);
    CUstream const stream = any_stream(handle, context);
    CHECK(stream, CUDA_ERROR_INVALID_HANDLE);
    if (stream->capture) {
        invalidate();
        return leave(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    bool const busy = stream->first != NULL;
    run_until(stream, FOREVER);
    CUresult const error = stream->context->error;
    return leave(error ? error : busy ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS);
}

API CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void *data) {
    ENTER("cuLaunchHostFunc");
    CURRENT(context);
    CUstream const stream = any_stream(handle, context);
    CHECK(stream, CUDA_ERROR_INVALID_HANDLE);
    work const calling = {.kind = CALL, .call = function, .data = data};
    return leave(enqueue(stream, &calling));
}

API CUresult cuEventCreate(CUevent *event, unsigned int flags) {
    ENTER("cuEventCreate");
    CURRENT(context);
    *event = calloc(1, sizeof **event);
    (*event)->context = context;
    (*event)->flags = flags;
    return leave(CUDA_SUCCESS);
}

API CUresult cuEventDestroy_v2(CUevent event) {
    ENTER("cuEventDestroy");
    CHECK(event && !event->destroyed, CUDA_ERROR_INVALID_HANDLE);
    event->destroyed = true; /* not freed, so that a later use shows */
    return leave(CUDA_SUCCESS);
}

API CUresult cuEventRecord(CUevent event, CUstream handle) {
    ENTER("cuEventRecord");
    CURRENT(context);
    CUstream const stream = any_stream(handle, context);
    CHECK(stream && event && !event->destroyed && event->context == stream->context, CUDA_ERROR_INVALID_HANDLE);
    work const mark = {.kind = MARK};
    CUresult const result = enqueue(stream, &mark);
    CHECK(result == CUDA_SUCCESS, result);
    event->stream = stream;
    event->sequence = sequence;
    event->capture = stream->capture;
    event->before.length = 0;
    if (event->capture) add_pieces(&event->before, &stream->before);
    return leave(CUDA_SUCCESS);
}

/* The part of an event's state that can be waited for. */
#define RECORDED(event)                                                                                                        \
    CHECK(event && !event->destroyed, CUDA_ERROR_INVALID_HANDLE);                                                              \
    CHECK(event->capture == NULL, CUDA_ERROR_CAPTURED_EVENT)

API CUresult cuEventQuery(CUevent event) {
    ENTER("cuEventQuery");
    RECORDED(event);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CUstream const s = event->stream;
    CHECK(event->context->error == CUDA_SUCCESS, event->context->error);
    if (s == NULL || s->first == NULL || s->first->sequence > event->sequence) return leave(CUDA_SUCCESS);
    run_until(s, event->sequence);
    return leave(event->context->error ? event->context->error : CUDA_ERROR_NOT_READY);
}

API CUresult cuEventSynchronize(CUevent event) {
    ENTER("cuEventSynchronize");
    RECORDED(event);
    CHECK(!prohibited(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    if (event->stream) run_until(event->stream, event->sequence);
    return leave(event->context->error);
}

/* Counts as milliseconds the pieces of work that were enqueued between the two events, on all
 * streams. */
API CUresult cuEventElapsedTime(float *milliseconds, CUevent start, CUevent end) {
    ENTER("cuEventElapsedTime");
    RECORDED(start);
    RECORDED(end);
    CHECK(start->stream && end->stream && start->context == end->context, CUDA_ERROR_INVALID_HANDLE);
    CHECK(!((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING), CUDA_ERROR_INVALID_HANDLE);
    CUevent const both[] = {start, end};
    for (int i = 0; i < 2; i++) {
        const work *const next = both[i]->stream->first;
        CHECK(next == NULL || next->sequence > both[i]->sequence, CUDA_ERROR_NOT_READY);
    }
    *milliseconds = (float)(end->sequence - start->sequence);
    return leave(CUDA_SUCCESS);
}

API CUresult cuStreamWaitEvent(CUstream handle, CUevent event, unsigned int flags) {
    ENTER("cuStreamWaitEvent");
    CURRENT(context);
    (void)flags;
    CUstream const stream = any_stream(handle, context);
    CHECK(stream && event && !event->destroyed, CUDA_ERROR_INVALID_HANDLE);
    if (event->capture) { /* the stream joins the capture */
        CHECK(is_active(event->capture), CUDA_ERROR_CAPTURED_EVENT);
        CHECK(stream->capture == NULL || stream->capture == event->capture, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
        if (stream->capture == NULL) stream->before.length = 0;
        stream->capture = event->capture;
        add_pieces(&stream->before, &event->before);
        return leave(CUDA_SUCCESS);
    }
    if (event->stream == NULL) return leave(CUDA_SUCCESS);
    if (stream->capture) {
        invalidate();
        return leave(CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    }
    work waiting = {.kind = MARK};
    add_wait(&waiting, event->stream, event->sequence);
    return leave(enqueue(stream, &waiting));
}

/* Captures and graphs. */

API CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    ENTER("cuThreadExchangeStreamCaptureMode");
    CUstreamCaptureMode const before = thread_mode;
    thread_mode = *mode;
    *mode = before;
    return leave(CUDA_SUCCESS);
}

API CUresult cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode) {
    ENTER("cuStreamBeginCapture");
    CURRENT(context);
    CUstream const stream = stream_of(handle, context);
    CHECK(stream && !stream->legacy, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CHECK(stream->capture == NULL && ncaptures < 64, CUDA_ERROR_ILLEGAL_STATE);
    CUgraph const graph = calloc(1, sizeof *graph);
    graph->end = &graph->first;
    graph->mode = mode;
    graph->thread = pthread_self();
    graph->id = ++sequence;
    graph->users = 1;
    captures[ncaptures++] = graph;
    stream->capture = graph;
    stream->before.length = 0;
    stream->origin = true;
    return leave(CUDA_SUCCESS);
}

/* Frees a graph's work with its last user. The graph stays, since events may refer to it. */
static void abandon(CUgraph graph) {
    if (--graph->users) return;
    for (int d = 0; d < DEVICES; d++) run_device(d);
    while (graph->first) {
        work *const w = graph->first;
        graph->first = w->next;
        if (w->kind == GRAPH_FREE && block_at(w->dst)) release(w->dst);
        discard(w);
    }
}

API CUresult cuStreamEndCapture(CUstream handle, CUgraph *graph) {
    ENTER("cuStreamEndCapture");
    CURRENT(context);
    CUstream const stream = stream_of(handle, context);
    CHECK(stream && stream->capture && stream->origin, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    CUgraph const captured = stream->capture;
    stream->origin = false;
    for (CUstream s = streams; s; s = s->next) {
        if (s->capture == captured) s->capture = NULL;
    }
    per_thread[context->device].capture = NULL;
    for (int i = 0; i < ncaptures; i++) {
        if (captures[i] == captured) captures[i] = captures[--ncaptures];
    }
    /* The other streams' captured work must have been waited for. A mark does no work. */
    CUresult result = captured->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
    size_t piece = 0;
    for (const work *w = captured->first; w && result == CUDA_SUCCESS; w = w->next, piece++) {
        bool const joined = piece < stream->before.length && stream->before.is[piece];
        if (w->kind != MARK && !joined) result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    }
    *graph = result ? NULL : captured;
    if (result) abandon(captured);
    return leave(result);
}

API CUresult cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status) {
    ENTER("cuStreamIsCapturing");
    CURRENT(context);
    CUstream const stream = any_stream(handle, context);
    CHECK(stream, CUDA_ERROR_INVALID_HANDLE);
    *status = stream->capture == NULL    ? CU_STREAM_CAPTURE_STATUS_NONE
              : stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                         : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return leave(CUDA_SUCCESS);
}

API CUresult cuStreamGetCaptureInfo_v2(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                                       const CUgraphNode **dependencies, size_t *count) {
    CUresult const result = cuStreamIsCapturing(handle, status);
    if (result || *status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return result;
    ENTER("cuStreamGetCaptureInfo");
    CUgraph const capture = any_stream(handle, current())->capture;
    if (id) *id = capture->id;
    if (graph) *graph = capture;
    /* The graph's work is one sequence: later work depends on its last piece. */
    capture->last = NULL;
    for (work *w = capture->first; w; w = w->next) capture->last = (CUgraphNode)w;
    if (dependencies) *dependencies = &capture->last;
    if (count) *count = capture->last != NULL;
    return leave(CUDA_SUCCESS);
}

API CUresult cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count) {
    ENTER("cuGraphGetNodes");
    size_t n = 0;
    for (work *w = graph->first; w; w = w->next) {
        if (w->kind == MARK) continue;
        if (nodes && n < *count) nodes[n] = (CUgraphNode)w;
        n++;
    }
    *count = n;
    return leave(CUDA_SUCCESS);
}

API CUresult cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long flags) {
    ENTER("cuGraphInstantiate");
    (void)flags;
    *exec = malloc(sizeof **exec);
    (*exec)->graph = graph;
    graph->users++;
    return leave(CUDA_SUCCESS);
}

API CUresult cuGraphLaunch(CUgraphExec exec, CUstream handle) {
    ENTER("cuGraphLaunch");
    CURRENT(context);
    CUstream const stream = any_stream(handle, context);
    CHECK(stream, CUDA_ERROR_INVALID_HANDLE);
    for (const work *w = exec->graph->first; w; w = w->next) {
        work again = *w;
        again.waits = NULL;
        again.nwaits = 0;
        if (w->kind == KERNEL) {
            size_t const bytes = ptx_param_offset(w->kernel, ptx_params(w->kernel));
            again.params = memcpy(malloc(bytes), w->params, bytes);
        }
        CUresult const result = enqueue(stream, &again);
        CHECK(result == CUDA_SUCCESS, result);
    }
    return leave(CUDA_SUCCESS);
}

API CUresult cuGraphExecDestroy(CUgraphExec exec) {
    ENTER("cuGraphExecDestroy");
    abandon(exec->graph);
    free(exec);
    return leave(CUDA_SUCCESS);
}

API CUresult cuGraphDestroy(CUgraph graph) {
    ENTER("cuGraphDestroy");
    abandon(graph);
    return leave(CUDA_SUCCESS);
}

/* The double has no log, so the callback is never called. */
API CUresult cuLogsRegisterCallback(void *callback, void *data, void **handle) {
    (void)callback, (void)data;
    *handle = NULL;
    return CUDA_SUCCESS;
}

API CUresult cuLogsUnregisterCallback(void *handle) {
    (void)handle;
    return CUDA_SUCCESS;
}

/* Functions that libraries linked against the driver name, and that the double does not have. */

static CUresult refuse(const char *function) {
    fprintf(stderr, "The double of libcuda.so.1 has no %s.\n", function);
    return CUDA_ERROR_NOT_SUPPORTED;
}

#define REFUSE(function)                                                                                                       \
    API CUresult no_##function(void) __asm__(#function);                                                                       \
    API CUresult no_##function(void) {                                                                                         \
        return refuse(#function);                                                                                              \
    }

/* clang-format off */
REFUSE(cuCtxFromGreenCtx) REFUSE(cuDevResourceGenerateDesc) REFUSE(cuDevSmResourceSplitByCount) REFUSE(cuDeviceGetDevResource)
REFUSE(cuFuncGetAttribute) REFUSE(cuFuncSetAttribute) REFUSE(cuFuncSetCacheConfig) REFUSE(cuGreenCtxCreate)
REFUSE(cuGreenCtxDestroy) REFUSE(cuGreenCtxStreamCreate) REFUSE(cuLaunchCooperativeKernel) REFUSE(cuLinkAddData_v2)
REFUSE(cuLinkComplete) REFUSE(cuLinkCreate_v2) REFUSE(cuMemAddressFree) REFUSE(cuMemAddressReserve) REFUSE(cuMemCreate)
REFUSE(cuMemExportToShareableHandle) REFUSE(cuMemGetAddressRange_v2) REFUSE(cuMemGetAllocationGranularity)
REFUSE(cuMemGetAllocationPropertiesFromHandle) REFUSE(cuMemImportFromShareableHandle) REFUSE(cuMemMap) REFUSE(cuMemRelease)
REFUSE(cuMemRetainAllocationHandle) REFUSE(cuMemSetAccess) REFUSE(cuMemUnmap) REFUSE(cuMemsetD32Async) REFUSE(cuModuleLoad)
REFUSE(cuModuleLoadDataEx) REFUSE(cuMulticastAddDevice) REFUSE(cuMulticastBindMem) REFUSE(cuMulticastCreate)
REFUSE(cuMulticastUnbind) REFUSE(cuOccupancyMaxActiveBlocksPerMultiprocessor) REFUSE(cuStreamWriteValue32_v2)
REFUSE(cuTensorMapEncodeTiled)
    /* clang-format on */

    /* Errors. */

    static const struct {
    CUresult code;
    const char *name, *text;
} errors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_DEINITIALIZED, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"},
    {CUDA_ERROR_INVALID_PTX, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
     "the provided PTX was compiled with an unsupported toolchain."},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CUDA_ERROR_MISALIGNED_ADDRESS, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {CUDA_ERROR_LAUNCH_TIMEOUT, "CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"},
    {CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
     "part or all of the requested memory range is already mapped"},
    {CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
     "pointer does not correspond to a registered memory region"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "capture sequence did not originate on this stream"},
    {CUDA_ERROR_STREAM_CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {CUDA_ERROR_STREAM_CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
     "dependency created on uncaptured work in another stream"},
    {CUDA_ERROR_CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT",
     "operation not permitted on an event last recorded in a capturing stream"},
    {CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
};

API CUresult cuGetErrorName(CUresult error, const char **name) {
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i].code != error) continue;
        *name = errors[i].name;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

API CUresult cuGetErrorString(CUresult error, const char **text) {
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i].code != error) continue;
        *text = errors[i].text;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}

/* The tests' controls. */

/* The call of a function after the next `after` calls does nothing and returns this error. With
 * after < 0 all of its calls do, until another function is named. */
API void double_fail(const char *function, int after, int error) {
    pthread_mutex_lock(&mutex);
    snprintf(failing, sizeof failing, "%s", function);
    failing_after = after;
    failing_with = (CUresult)error;
    pthread_mutex_unlock(&mutex);
}

/* The calls since the last look, a line each; the caller's to free. */
API char *double_log(void) {
    pthread_mutex_lock(&mutex);
    char *const text = call_log ? call_log : strdup("");
    call_log = NULL;
    log_length = 0;
    pthread_mutex_unlock(&mutex);
    return text;
}

/* Where the last kernel went wrong, or why the last module was refused. */
API const char *double_why(void) {
    return why;
}

/* Sets the nans that arithmetic makes, and the content of registers before they are written. */
API void double_bits(uint32_t nan_of_32, uint64_t nan_of_64, uint64_t unwritten) {
    nan32 = nan_of_32;
    nan64 = nan_of_64;
    poison = unwritten;
}

/* A grid of more than this many blocks runs without the first ones of this number. */
API void double_first(unsigned block) {
    first_block = block;
}

/* From now on work also runs before something waits for it, in an order drawn by this number. 0
 * ends this. */
API void double_schedule(uint64_t number) {
    pthread_mutex_lock(&mutex);
    schedule = number;
    pthread_mutex_unlock(&mutex);
}

/* The number of pieces of work that wait on a device. */
API int double_pending(int device) {
    int n = 0;
    pthread_mutex_lock(&mutex);
    for (const work *w = defaults[device].first; w; w = w->next) n++;
    for (const work *w = per_thread[device].first; w; w = w->next) n++;
    for (CUstream s = streams; s; s = s->next) {
        for (const work *w = s->first; w; w = w->next) n += s->context->device == device;
    }
    pthread_mutex_unlock(&mutex);
    return n;
}

/* The number of blocks of memory on a device; -1: of pinned blocks of the CPU's. */
API int double_blocks(int device) {
    int n = 0;
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < nblocks; i++) n += blocks[i].device == device;
    pthread_mutex_unlock(&mutex);
    return n;
}

/* Clears captures and the errors of kernels; a real context is lost after such an error. Returns
 * the number of blocks of memory. */
API int double_reset(void) {
    pthread_mutex_lock(&mutex);
    ncaptures = 0;
    for (int d = 0; d < DEVICES; d++) per_thread[d].capture = NULL;
    for (CUstream s = streams; s; s = s->next) s->capture = NULL;
    for (int d = 0; d < DEVICES; d++) contexts[d].error = CUDA_SUCCESS;
    why[0] = failing[0] = 0;
    int const n = (int)nblocks;
    pthread_mutex_unlock(&mutex);
    return n;
}
