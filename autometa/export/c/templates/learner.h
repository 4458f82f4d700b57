/* What the files of the learning tell one another. */
#ifndef AUTOMETA_LEARNER_H
#define AUTOMETA_LEARNER_H

#include "autometa.h"

/* 1: the label of a class */
int am_is_class(const autometa *m, int label);
/* Labels of the classes, in order, into `labels`; how many. */
int am_classes(const autometa *m, int *labels);
/* 1: no value is infinite or not a number */
int am_finite(const float *values, int count);
/* Softmax of the scores of `labels`; the answer of autometa_predict. */
int am_answer(float *scores, const int *labels, int ways, float *probabilities);
/* Of a way to learn: 1 where numbers in what was restored are in their ranges. */
int am_taught_is_sound(const autometa *m);

#endif
