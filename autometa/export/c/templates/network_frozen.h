/* The network, forward and backward; all its values are in the structure `autometa`. */
#ifndef AUTOMETA_NETWORK_H
#define AUTOMETA_NETWORK_H

#include "autometa.h"

#define AM_PICTURE @PICTURE_AT@ /* where pictures begin in the arena */

/* Features of n pictures in the arena, every normalisation by am_mean and am_variance. */
void am_forward(autometa *m, int n, float *features);
/* After am_forward, from m->grad_features: one step of Adam on all weights but the last layer's. */
void am_backward(autometa *m, int n, float correction);

#endif
