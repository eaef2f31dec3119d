/* The start of Go's runtime. Needs the linker script python/start.ld and the linker's --wrap.
 *
 * Go would start when this library is loaded, and would end the process if the system refused it
 * memory or a thread. So its start is no constructor of this library (python/start.ld). start_go
 * calls it, after it has asked the system for all that Go will ask for. If the system refuses, the
 * import (or in a forked child the call) raises an exception instead. Go gets an environment of its
 * own: variables for other Go programs must not steer this one, and malformed ones would end the
 * process. */
#include "start.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>

/* What Go's runtime needs, with some room to spare; measured with `strace` and
 * /proc/self/status. */
enum {
    RESERVED_MIB = 1600, /* address space: 1161 for Go, the rest for the C heaps of its threads; most is never used */
    MAPPED_MIB = 88,     /* memory that Go may write to; it touches 4 */
    BEGINNING = 5,       /* most threads at its start */
    SPARE = 3,           /* more threads that it may want later; see __wrap__cgo_try_pthread_create */
    ENTERING_MIB = 8,    /* by which a thread's first call into Go may make its heap grow */
};
#define MIB ((size_t)1 << 20)

/* Go's constructor, in the array that python/start.ld has made; the loader has relocated it. */
typedef void constructor(int argc, char **argv, char **env);
extern constructor *const gorsqrt_go_begin[] __attribute__((visibility("hidden")));

/* Threads that wait to become Go's. */
typedef struct {
    sem_t wake;
    void *(*run)(void *); /* NULL: end */
    void *argument;
} spare;

static spare spares[SPARE];
static pthread_mutex_t spares_lock = PTHREAD_MUTEX_INITIALIZER;
static int spares_left;

static void *wait_as_spare(void *argument) {
    spare *const s = argument; /* static, or on the stack of find_room, which joins this thread */
    while (sem_wait(&s->wake) != 0) continue;
    return s->run ? s->run(s->argument) : NULL;
}

static int create_waiting(pthread_t *thread, spare *s) {
    s->run = NULL;
    sem_init(&s->wake, 0, 0);
    sigset_t all, callers;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &callers);
    int const failed = pthread_create(thread, NULL, wait_as_spare, s);
    pthread_sigmask(SIG_SETMASK, &callers, NULL);
    if (failed) sem_destroy(&s->wake);
    return failed;
}

/* Maps this many bytes of memory, or of address space only (PROT_NONE); NULL if the system
 * refuses. */
static void *take(size_t bytes, int protection) {
    void *const taken = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return taken == MAP_FAILED ? NULL : taken;
}

void append_limits(char *text, size_t size, int kinds) {
    static const struct {
        int resource, kind;
        const char *name, *unit;
        rlim_t scale;
    } limits[] = {{RLIMIT_AS, OF_MEMORY, "RLIMIT_AS", " MiB", MIB},
                  {RLIMIT_DATA, OF_MEMORY, "RLIMIT_DATA", " MiB", MIB},
                  {RLIMIT_NPROC, OF_THREADS, "RLIMIT_NPROC", "", 1},
                  {RLIMIT_NOFILE, OF_FILES, "RLIMIT_NOFILE", "", 1}};
    const char *separator = " (";
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit;
        if (!(limits[i].kind & kinds) || getrlimit((__rlimit_resource_t)limits[i].resource, &limit) != 0 ||
            limit.rlim_cur == RLIM_INFINITY)
            continue;
        size_t const end = strlen(text);
        snprintf(text + end, size - end, "%s%s is %llu%s", separator, limits[i].name,
                 (unsigned long long)(limit.rlim_cur / limits[i].scale), limits[i].unit);
        separator = ", ";
    }
    size_t const end = strlen(text);
    if (*separator == ',' && end + 1 < size) strcpy(text + end, ")");
}

/* Creates up to n waiting threads. Returns how many; *failed says whether the system refused
 * one. */
static int create_all(int n, pthread_t *threads, spare *waiting, bool *failed) {
    for (int i = 0; i < n; i++) {
        *failed = create_waiting(&threads[i], &waiting[i]) != 0;
        if (*failed) return i;
    }
    return n;
}

/* Ends n waiting threads. */
static void end_all(int n, const pthread_t *threads, spare *waiting) {
    for (int i = 0; i < n; i++) {
        sem_post(&waiting[i].wake); /* run is NULL */
        pthread_join(threads[i], NULL);
        sem_destroy(&waiting[i].wake);
    }
}

/* Whether the system has room for all that Go needs at one time; if not, `why` names the missing
 * resource. Leaves the spare threads waiting. */
static bool find_room(char *why, size_t size) {
    void *const reserved = take(RESERVED_MIB * MIB, PROT_NONE);
    void *const mapped = reserved ? take(MAPPED_MIB * MIB, PROT_READ | PROT_WRITE) : NULL;
    spare beginning[BEGINNING];
    pthread_t beginning_threads[BEGINNING], spare_threads[SPARE];
    bool failed = false;
    int const kept = mapped ? create_all(SPARE, spare_threads, spares, &failed) : 0;
    int const begun = mapped && !failed ? create_all(BEGINNING, beginning_threads, beginning, &failed) : 0;
    end_all(begun, beginning_threads, beginning);
    if (mapped) munmap(mapped, MAPPED_MIB * MIB);
    if (reserved) munmap(reserved, RESERVED_MIB * MIB);
    if (mapped && !failed) {
        for (int i = 0; i < kept; i++) pthread_detach(spare_threads[i]);
        spares_left = kept;
        return true;
    }
    end_all(kept, spare_threads, spares);
    if (reserved == NULL) {
        snprintf(why, size, "Go's runtime needs %d MiB of address space, which this process does not get", RESERVED_MIB);
    } else if (mapped == NULL) {
        snprintf(why, size, "Go's runtime needs %d MiB of memory, which this process does not get", MAPPED_MIB);
    } else {
        snprintf(why, size, "Go's runtime needs %d threads, of which this process gets %d", SPARE + BEGINNING, kept + begun);
    }
    append_limits(why, size, mapped ? OF_MEMORY | OF_THREADS : OF_MEMORY);
    return false;
}

/* Creates every later thread of Go. Go ends the process if it gets none, so a waiting spare thread
 * takes over if the system refuses one. (The linker's --wrap puts this in place of a function of
 * runtime/cgo.) */
int __real__cgo_try_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);
int __wrap__cgo_try_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument);

int __wrap__cgo_try_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    if (pthread_create(thread, attributes, run, argument) == 0) return 0;
    pthread_mutex_lock(&spares_lock);
    spare *const s = spares_left > 0 ? &spares[--spares_left] : NULL;
    pthread_mutex_unlock(&spares_lock);
    if (s == NULL) return __real__cgo_try_pthread_create(thread, attributes, run, argument); /* retries for .2 s */
    s->run = run;
    s->argument = argument; /* Go's, which the thread frees */
    sem_post(&s->wake);
    return 0;
}

/* Go's arguments, environment and auxiliary vector, in the kernel's layout. Go keeps pointers to
 * them. The environment holds only these variables. The collector is off, because its own pace
 * would open descriptors for its timers; garbage.go says when to collect. Go does not follow the
 * control group's limit, because it would keep the group's files open; rsqrt/machine.go reads the
 * limit. */
static const void *arguments[] = {"gorsqrt", NULL, "GOGC=off", "GOMAXPROCS=2", "GODEBUG=containermaxprocs=0,updatemaxprocs=0",
                                  NULL,
                                  /* The auxiliary vector's pairs; begin_go fills them in. */
                                  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
enum { ENVIRONMENT = 2, VECTOR = 6 };

static void begin_go(void) {
    static const unsigned long kinds[] = {AT_PAGESZ, AT_HWCAP, AT_HWCAP2, AT_RANDOM, AT_SECURE, AT_SYSINFO_EHDR};
    const void **pair = arguments + VECTOR;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        unsigned long const value = getauxval(kinds[i]);
        if (value == 0) continue;
        *pair++ = (const void *)kinds[i];
        *pair++ = (const void *)value;
    }
    gorsqrt_go_begin[0](1, (char **)arguments, (char **)arguments + ENVIRONMENT);
}

bool start_go(char *why, size_t size) {
    if (!find_room(why, size)) return false;
    begin_go();
    return true;
}

bool start_may_enter(void) {
    static _Thread_local bool entered __attribute__((tls_model("initial-exec"))); /* as Go's own variables */
    if (entered) return true;
    void *const memory = take(ENTERING_MIB * MIB, PROT_READ | PROT_WRITE);
    if (memory) munmap(memory, ENTERING_MIB * MIB);
    return entered = memory != NULL;
}
