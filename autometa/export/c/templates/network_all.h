/* The network, forward and backward; all its values are in the structure `autometa`. */
#ifndef AUTOMETA_NETWORK_H
#define AUTOMETA_NETWORK_H

#include "autometa.h"

#define AM_PICTURE @PICTURE_AT@ /* where pictures begin in the arena */
enum { AM_BY_BATCH = -1 };

/* Features of n pictures in the arena.  how: AM_BY_BATCH; AM_NORMS: by the statistics that were measured; or the number
 * of the normalisation whose statistics shall be measured, where it stops. */
void am_forward(autometa *m, int n, int how, float *features);
/* After am_forward by the batch, from m->grad_features: one step of Adam on all weights but the last layer's. */
void am_backward(autometa *m, int n, float correction);
/* One normalisation of am_forward; 1: measured, go no further. */
int am_normalise(autometa *m, int n, int how, int norm, int first, int pixels, int channels, float eps, const float *x,
                 const float *gamma, const float *beta, float scale, int add, float *y);

#endif
