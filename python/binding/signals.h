/* The signal handlers that Go's runtime installs when it starts: which ones stay, and which ones
 * are restored. */
#ifndef GORSQRT_SIGNALS_H
#define GORSQRT_SIGNALS_H

#include <signal.h>

enum { GO_SIGNALS = 5 };
typedef struct sigaction signal_actions[GO_SIGNALS];

/* signals_note saves the current handlers before Go starts. signals_settle restores those that Go
 * does not need, after Go has started and answered its first call. */
void signals_note(signal_actions now);
void signals_settle(const signal_actions before);

/* The same for this library's own Go. */
void signals_note_import(void);
void signals_settle_import(void);

/* Removes Go's handlers. Safe in a child of fork. */
void signals_without_go(void);

#endif
