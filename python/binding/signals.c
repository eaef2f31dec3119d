/* Signals: what Go's runtime takes when it begins, and what it keeps. It needs its handlers of
 * SIGSEGV, SIGBUS, SIGFPE and SIGURG, and hands on what is not its own; SIGPIPE, which it takes
 * too, is given back. */
#include "signals.h"

static const int number[GO_SIGNALS] = {SIGSEGV, SIGBUS, SIGFPE, SIGURG, SIGPIPE};

/* What was set before Go began. */
static signal_actions outside;

/* Go's handlers, where it has kept them: the original's, or in a forked child its copy's. */
static void (*gos[GO_SIGNALS])(int);

void signals_note(signal_actions now) {
    for (int i = 0; i < GO_SIGNALS; i++) sigaction(number[i], NULL, &now[i]);
}

void signals_note_import(void) {
    signals_note(outside);
}

/* Between its beginning and the settling Go hands SIGPIPE on to what was set, so nobody notices. In
 * a child, what was set since the import stays above Go's handler, as in the parent. */
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
