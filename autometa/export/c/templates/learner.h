/* What the files of the learning tell one another. */
#ifndef AUTOMETA_LEARNER_H
#define AUTOMETA_LEARNER_H

#include "autometa.h"

/* Labels of the classes, in order, into `labels`; how many. */
int am_classes(const autometa *m, int *labels);
/* 1: no value is infinite or not a number */
int am_finite(const float *values, int count);

/* Of each way to learn, called with what is there: */
/* Look at a picture of a class; AUTOMETA_OK, or why it cannot be. */
int am_look(autometa *m, const uint8_t *picture, int label);
/* How many pictures of a class were looked at. */
int am_pictures_of(const autometa *m, int label);
/* Forget them. */
void am_drop(autometa *m, int label);
/* Learn the classes of `labels`, which all have pictures; AUTOMETA_OK or AUTOMETA_NOT_FINITE. */
int am_learn(autometa *m, const int *labels, int ways);
/* After that: scores of a picture for these classes. */
void am_scores(autometa *m, const uint8_t *picture, const int *labels, int ways, float *scores);
/* 1 where numbers in what was restored are in their ranges. */
int am_taught_is_sound(const autometa *m);

#endif
