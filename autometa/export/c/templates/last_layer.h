/* The last layer, which learns by gradient steps: each class has a row of weights and a bias. */
#ifndef AUTOMETA_LAST_LAYER_H
#define AUTOMETA_LAST_LAYER_H

#include "autometa.h"

/* Scores of one picture's features for the classes of `labels`. */
void am_scores_of(const autometa *m, const float *features, const int *labels, int ways, float *scores);
/* Each class begins at its row of the meta-learned last layer; that one's last row is for all further classes. */
void am_begin_last_layer(autometa *m, const int *labels, int ways);
/* 1: the rows of the classes are finite */
int am_last_layer_is_finite(const autometa *m, const int *labels, int ways);

/* What the second moment of Adam is multiplied by in step `number` of a task, the first being 1. */
float am_correction(int number);
/* One step of Adam without a first moment, or of plain descent, as the network was trained. */
void am_step(float *values, float *second, const float *grad, int size, float correction);

#endif
