/* Every kind of call that makes a host run, and whether anything is the worse for one that failed.
 */
#ifndef TESTS_HOST_TRIAL_H
#define TESTS_HOST_TRIAL_H

#include "world.h"

typedef struct trial {
    world *w;
    qdbg_model *model; /* a host model of w->engine */
    qdbg_sim *sim;     /* on it, calibrated */
    double reference;  /* score of the simulation */
} trial;

void trial_open(trial *t, world *w, qdbg_model *model);
void trial_close(trial *t);

typedef struct trial_call {
    const char *name;
    qdbg_status (*make)(trial *t);
    bool quantizes; /* wants more than the output */
} trial_call;

#define TRIAL_CALLS 6
extern const trial_call trial_calls[TRIAL_CALLS];

/* With the engine behaving again: the simulation scores what it scored, the model gives what the
 * executor gives, and the engine holds its own parameters. */
void trial_assert_unharmed(trial *t);

#endif
