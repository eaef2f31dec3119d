/* The signals that Go's runtime takes when it begins, and those that it keeps. */
#ifndef GORSQRT_SIGNALS_H
#define GORSQRT_SIGNALS_H

#include <signal.h>

enum { GO_SIGNALS = 5 };
typedef struct sigaction signal_actions[GO_SIGNALS];

/* Notes the handlers that are set, for signals_settle after Go has begun and has answered its first
 * call. */
void signals_note(signal_actions now);
void signals_settle(const signal_actions before);

/* The same for this library's own Go. */
void signals_note_import(void);
void signals_settle_import(void);

/* Takes Go's handlers off. Safe in a child of fork. */
void signals_without_go(void);

#endif
