/* The signal handlers that Go's runtime installs when it starts. Go keeps those of SIGSEGV, SIGBUS,
 * SIGFPE and SIGURG, and passes on signals that are not its own. The handler of SIGPIPE, which Go
 * replaces too, is restored. Needs nothing else of gorsqrt. In a forked child only Go's own
 * handlers are removed. */
#include "signals.h"

static const int number[GO_SIGNALS] = {SIGSEGV, SIGBUS, SIGFPE, SIGURG, SIGPIPE};

/* The handlers before Go started. */
static signal_actions outside;

/* Go's handlers, as Go installed them: the original's, or in a forked child its copy's. */
static void (*gos[GO_SIGNALS])(int);

void signals_note(signal_actions now) {
    for (int i = 0; i < GO_SIGNALS; i++) sigaction(number[i], NULL, &now[i]);
}

void signals_note_import(void) {
    signals_note(outside);
}

/* Between Go's start and this call Go passes SIGPIPE on to the earlier handler, so the program sees
 * no difference. In a forked child a handler that was set after the import stays above Go's, as in
 * the parent. */
void signals_settle(const signal_actions before) {
    for (int i = 0; i < GO_SIGNALS; i++) {
        struct sigaction now;
        sigaction(number[i], NULL, &now);
        gos[i] = now.sa_handler;
        if (number[i] == SIGPIPE || before[i].sa_handler != outside[i].sa_handler) sigaction(number[i], &before[i], NULL);
    }
}

void signals_settle_import(void) {
    signals_settle(outside);
}

void signals_without_go(void) {
    for (int i = 0; i < GO_SIGNALS; i++) {
        struct sigaction now;
        sigaction(number[i], NULL, &now);
        if (gos[i] && now.sa_handler == gos[i]) sigaction(number[i], &outside[i], NULL);
    }
}
