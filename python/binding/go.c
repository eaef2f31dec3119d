/* The Go runtime that this process uses, also in a forked child. Needs start.c, which starts a Go
 * runtime, and signals.c.
 *
 * fork copies only the calling thread. Go's runtime would wait for its other threads without end,
 * at an unpredictable moment. So a forked child never enters the parent's Go again: not by a call,
 * not by a signal, not at the end of a thread. The first call in a child that needs Go loads a
 * fresh copy of this library (some milliseconds, once); a child of that child loads its own copy.
 * The C code of this library, and all Python objects that refer to it, stay those of the original:
 * of a copy only its gorsqrt_go is used. */
#include "go.h"
#include "signals.h"
#include "start.h"
#include "threads.h"

#include "../../cgo/workers.h"

#include "_cgo_export.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* gopy's, in python/generated. */
void GoPyInit(void);
char *binding_Config(void);
char *binding_Install(char *module);
char *binding_SetTier(char *name);
char *binding_GetDefaultDType(void);
char *binding_SetDefaultDType(char *name);
char *binding_SetNumThreads(long long threads);

static void release_thread(void);

gorsqrt_go go_here = {
    .decide_into = gorsqrtDecideInto,
    .decide_fresh = gorsqrtDecideFresh,
    .launch = gorsqrtLaunch,
    .has_passed = gorsqrtHasPassed,
    .allocate = gorsqrtAllocate,
    .give_back = gorsqrtFree,
    .order = gorsqrtOrder,
    .start = start_go,
    .collect = gorsqrtCollect,
    .take_over = gorsqrtTakeOver,
    .gopy_config = binding_Config,
    .gopy_set_tier = binding_SetTier,
    .gopy_get_default_dtype = binding_GetDefaultDType,
    .gopy_set_default_dtype = binding_SetDefaultDType,
    .gopy_set_num_threads = binding_SetNumThreads,
    .release_thread = release_thread,
};

gorsqrt_go *go_now = &go_here;

/* How the original finds a copy's gorsqrt_go. Beside PyInit this is the only exported name
 * (exports.map). */
__attribute__((visibility("default"))) gorsqrt_go *gorsqrt_go_here(void);

gorsqrt_go *gorsqrt_go_here(void) {
    return &go_here;
}

char *copied_text(const char *text, size_t length) {
    char *const copy = malloc(length + 1);
    if (copy == NULL) return NULL;
    if (length > 0) memcpy(copy, text, length); /* Go's string, valid during the call; an empty one may be NULL */
    copy[length] = 0;
    return copy;
}

void refusal_raise(const char *function, bool in_place, gorsqrt_refusal *refusal) {
    PyObject *const exceptions[] = {[RUNTIME_ERROR] = PyExc_RuntimeError,
                                    [TYPE_ERROR] = PyExc_TypeError,
                                    [VALUE_ERROR] = PyExc_ValueError,
                                    [OTHER_SHAPE] = PyExc_RuntimeError};
    PyObject *const exception = exceptions[refusal->kind];
    if (refusal->text == NULL) {
        PyErr_NoMemory();
    } else if (refusal->operand == NEITHER) {
        PyErr_SetString(exception, refusal->text);
    } else {
        PyErr_Format(exception, "%s(): argument '%s' %s", function, refusal->operand == DST && !in_place ? "out" : "input",
                     refusal->text);
    }
    free(refusal->text);
}

/* runtime/cgo binds each thread that calls Go to Go's runtime, by a pthread key whose destructor
 * enters the runtime when the thread ends. Code in this library finds this definition before
 * libc's. Only Go creates keys in this library, so this definition remembers Go's key. */
static pthread_key_t thread_key;
static bool has_thread_key;

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
    int (*const create)(pthread_key_t *, void (*)(void *)) =
        (int (*)(pthread_key_t *, void (*)(void *)))dlsym(RTLD_DEFAULT, "pthread_key_create");
    int const failed = create(key, destructor);
    if (!failed) {
        thread_key = *key;
        has_thread_key = true;
    }
    return failed;
}

static void release_thread(void) {
    if (has_thread_key) pthread_setspecific(thread_key, NULL);
}

/* A mapping of this library's file, made at import. By the time a child needs it the file may have
 * been replaced or may be out of reach, and programs close descriptors that they don't know. It
 * costs address space only. NULL if the file could not be read. */
static void *file;
static size_t file_size;

static void map_own_file(void) {
    Dl_info own;
    struct stat status;
    int const fd = dladdr(&go_here, &own) ? open(own.dli_fname, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    if (fstat(fd, &status) == 0) {
        void *const mapped = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (mapped != MAP_FAILED) {
            file = mapped;
            file_size = (size_t)status.st_size;
        }
    }
    close(fd);
}

/* Whether this library's Go has begun. */
static bool started;

/* True in a forked child until it has its copy. */
static bool lost;

/* A load that is in progress, or stuck for good. `why` is the last failure. */
static bool loading;
static char why[384];

/* The dynamic loader's own state; and in a child, whether the fork caught the loader in the middle
 * of a change, which will never be completed. */
static const struct r_debug *loader;
static bool torn;

static void after_fork_in_child(void) {
    if (!started) return;
    go_now->release_thread();
    signals_without_go();
    lost = true;
    loading = false;
    torn = loader && loader->r_state != RT_CONSISTENT;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Restores the signal handlers that Go replaced at its start, and prepares for a forked child. */
static void settle(void) {
    signals_settle_import();
    map_own_file();
    loader = dlsym(RTLD_DEFAULT, "_r_debug");
}

/* Registered when the library is loaded: another thread may fork before the import ends. */
__attribute__((constructor(102))) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

/* Sets `why`. `limits`: the kinds of limits that may be the cause. */
static void fail(const char *step, const char *reason, int limits) {
    snprintf(why, sizeof why, "%s: %s", step, reason);
    append_limits(why, sizeof why, limits);
}

/* A new file with the library's contents, which the loader doesn't know yet; -1 if that fails. */
static int fresh_file(void) {
    enum { CLOEXEC = 1, NOEXEC_SEAL = 8 }; /* MFD_…, which old headers lack; the second is new in Linux 6.3 */
    if (file == NULL) {
        fail("its file", "not readable at import", 0);
        return -1;
    }
    int fd = (int)syscall(SYS_memfd_create, "gorsqrt", CLOEXEC | NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) fd = (int)syscall(SYS_memfd_create, "gorsqrt", CLOEXEC);
    if (fd < 0) {
        fail("memfd_create", strerror(errno), errno == EMFILE ? OF_FILES : 0);
        return -1;
    }
    for (size_t done = 0; done < file_size;) {
        ssize_t const n = write(fd, (const char *)file + done, file_size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            fail("memfd", strerror(errno), 0);
            close(fd);
            return -1;
        }
        done += (size_t)n;
    }
    return fd;
}

/* The Go of a loaded copy that has not been started yet, in this process. */
static gorsqrt_go *unstarted;

/* The Go of a copy; NULL if that fails. An earlier call may have loaded the copy and found too
 * little room to start it. */
static gorsqrt_go *fresh_go(void) {
    /* Number of copies so far, in this process and its ancestors. Each copy has a name of its own;
     * otherwise the loader would return the last one. */
    static int loaded;
    if (unstarted) return unstarted;
    char name[512] = "/proc/self/fd/";
    int const fd = fresh_file();
    if (fd < 0) return NULL;
    size_t end = strlen(name);
    for (int i = 0; i < loaded && end < sizeof name - 16; i++) name[end++] = '/';
    snprintf(name + end, sizeof name - end, "%d", fd);
    void *const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    close(fd);
    if (library == NULL) {
        fail("dlopen", dlerror(), OF_MEMORY);
        return NULL;
    }
    loaded++;
    gorsqrt_go *(*const here)(void) = (gorsqrt_go * (*)(void)) dlsym(library, "gorsqrt_go_here");
    gorsqrt_go *const go = here ? here() : go_now;
    if (go == go_now) {
        fail("dlopen", "not a fresh copy", 0);
        return NULL;
    }
    return unstarted = go;
}

/* Loads and starts a copy, and sets *copy if all goes well. It is a thread's function and needs no
 * GIL. */
static void *load(void *copy) {
    gorsqrt_go *const go = fresh_go();
    if (go == NULL) return NULL;
    signal_actions before;
    signals_note(before);
    if (!go->start(why, sizeof why)) return NULL;
    unstarted = NULL;
    gorsqrt_refusal refusal;
    if (go->take_over(go_now->tier, go_now->default_dtype, gorsqrt_threads(), &refusal)) {
        fail("settings", refusal.text ? refusal.text : "no memory", 0);
        free(refusal.text);
    } else {
        *(gorsqrt_go **)copy = go;
    }
    signals_settle(before);
    return NULL;
}

/* Loads the copy and makes it the Go in use. The GIL is held, so no other Python thread can fork or
 * call.
 *
 * If a thread of the parent was inside the loader at the fork, its work stays unfinished in the
 * child. In the middle of dlopen or dlclose, a process that uses the loader again is ended. And
 * glibc resets the loader's main locks in the child, but not the lock that dlopen, dlclose and
 * dl_iterate_phdr hold for a moment: a thread that needs it then waits without end. So a separate
 * thread loads the copy, and this thread waits for it only for PATIENCE seconds. */
static bool take_copy(void) {
    enum { PATIENCE = 10 }; /* seconds; a load takes milliseconds */
    static const char *const busy = "a thread of the parent process was in the dynamic loader when it forked";
    static gorsqrt_go *copy;
    pthread_t thread;
    if (torn) fail("dlopen", busy, 0);
    if (torn || loading) return false;
    copy = NULL;
    int const failed = pthread_create(&thread, NULL, load, &copy);
    if (failed) {
        fail("pthread_create", strerror(failed), OF_MEMORY | OF_THREADS);
        return false;
    }
    loading = true;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE;
    if (pthread_timedjoin_np(thread, NULL, &until) != 0) {
        fail("dlopen", busy, 0);
        return false;
    }
    loading = false;
    if (copy == NULL) return false;
    go_now = copy;
    lost = false;
    return true;
}

const gorsqrt_go *go_ask(void) {
    if (lost && !take_copy()) {
        PyErr_Format(
            PyExc_RuntimeError,
            "gorsqrt: in a forked child process this call needs a fresh copy of Go's runtime, which could not be loaded "
            "(%s); contiguous arrays of one dtype need none, or start processes with the spawn or forkserver method",
            why);
        return NULL;
    }
    if (start_may_enter()) {
        static unsigned calls; /* the GIL is held */
        if (++calls % COLLECT_EVERY == 0) go_now->collect();
        return go_now;
    }
    char text[256] = "gorsqrt: no memory for a thread's first call into Go";
    append_limits(text, sizeof text, OF_MEMORY);
    PyErr_SetString(PyExc_MemoryError, text);
    return NULL;
}

bool go_is_in_use(const gorsqrt_go *go) {
    return !lost && go == go_now;
}

/* gopy's wrappers call these (gopy.h). */

/* Passes on the answer of one of gopy's functions. NULL without an exception means that memory ran
 * out: sets a MemoryError. */
static char *answered(char *text) {
    if (text == NULL && !PyErr_Occurred()) PyErr_NoMemory();
    return text;
}

char *guarded_config(void) {
    const gorsqrt_go *const go = go_ask();
    return go ? answered(go->gopy_config()) : NULL;
}

char *guarded_set_tier(char *name) {
    const gorsqrt_go *const go = go_ask();
    return go ? answered(go->gopy_set_tier(name)) : NULL;
}

char *guarded_get_default_dtype(void) {
    const gorsqrt_go *const go = go_ask();
    return go ? answered(go->gopy_get_default_dtype()) : NULL;
}

char *guarded_set_default_dtype(char *name) {
    const gorsqrt_go *const go = go_ask();
    return go ? answered(go->gopy_set_default_dtype(name)) : NULL;
}

char *guarded_set_num_threads(long long threads) {
    const gorsqrt_go *const go = go_ask();
    char *const set = go ? answered(go->gopy_set_num_threads(threads)) : NULL;
    if (set && !PyErr_Occurred()) threads_set(atoi(set));
    return set;
}

bool guarded_init(void) {
    if (lost || go_now != &go_here) {
        PyErr_SetString(PyExc_ImportError, "gorsqrt can't be imported in a forked child process whose parent has loaded it");
        return false;
    }
    if (PyInterpreterState_GetID(PyInterpreterState_Get()) != 0) {
        PyErr_SetString(PyExc_ImportError, "gorsqrt can be imported in the main interpreter only");
        return false;
    }
    if (!started) {
        signals_note_import();
        started = true; /* set first, for a child that another thread forks meanwhile */
        started = start_go(why, sizeof why);
        if (!started) {
            PyErr_Format(PyExc_ImportError, "gorsqrt can't be imported: %s", why);
            return false;
        }
    }
    GoPyInit(); /* returns when Go's runtime has started and has taken its signals */
    pthread_once(&once, settle);
    return true;
}

char *guarded_install(char *module) {
    if (!lost && go_now == &go_here) return answered(binding_Install(module));
    PyErr_SetString(PyExc_RuntimeError, "gorsqrt: can't be imported a second time in a forked child process");
    return NULL;
}
